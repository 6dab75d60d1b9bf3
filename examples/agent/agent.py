"""A small LangGraph agent without a model: it counts the words it was sent and remembers its thread's conversation."""

import asyncio
import operator
from typing import Annotated, TypedDict

from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph


class Conversation(TypedDict, total=False):
    text: str  # what the caller says
    seconds: float  # how long `think` takes
    answer: str
    said: Annotated[list[str], operator.add]  # everything that was said on this thread


async def think(state: Conversation) -> dict:
    """Takes its time, streaming a tick every quarter of a second: for watching what happens to a run in flight."""
    write = get_stream_writer()
    total = float(state.get("seconds", 0))
    ticks = int(total / 0.25)
    for tick in range(ticks):
        await asyncio.sleep(0.25)
        write({"tick": tick + 1, "of": ticks})
    await asyncio.sleep(total - ticks * 0.25)
    return {}


async def answer(state: Conversation) -> dict:
    text = state.get("text", "")
    words = len(text.split())
    turn = len(state.get("said", [])) + 1
    plural = "" if words == 1 else "s"
    return {"answer": f"{words} word{plural} in turn {turn} of this thread: {text}", "said": [text]}


_graph = StateGraph(Conversation)
_graph.add_node("think", think)
_graph.add_node("answer", answer)
_graph.add_edge(START, "think")
_graph.add_edge("think", "answer")
_graph.add_edge("answer", END)
agent = _graph.compile()
