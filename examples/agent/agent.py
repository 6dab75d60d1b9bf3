"""Two small LangGraph graphs without a model, so that they run anywhere: `echo` answers at once, `slow` takes a while."""

import asyncio
import operator
import os
from typing import Annotated, TypedDict

from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph


class Conversation(TypedDict, total=False):
    text: str  # what the caller says
    seconds: float  # how long `slow` takes; 3 when it is not given
    answer: str
    log: Annotated[list[str], operator.add]  # everything that was done on this thread


async def echo_back(state: Conversation) -> dict:
    text = state.get("text", "")
    # A deployment's secrets are in the environment, as its author named them.
    return {"answer": f"{os.environ.get('GREETING', 'hello')}: {text}", "log": [f"echo:{text}"]}


async def take_time(state: Conversation) -> dict:
    """Streams a tick every quarter of a second: for watching what happens to a run in flight."""
    write = get_stream_writer()
    total = state.get("seconds", 3)
    for tick in range(int(total / 0.25)):
        await asyncio.sleep(0.25)
        write({"tick": tick + 1})
    return {"answer": f"that took {total:g} s", "log": [f"slow:{total:g}"]}


def _graph(name: str, node) -> CompiledStateGraph:
    graph = StateGraph(Conversation)
    graph.add_node(name, node)
    graph.add_edge(START, name)
    graph.add_edge(name, END)
    return graph.compile()


echo = _graph("echo_back", echo_back)
slow = _graph("take_time", take_time)
