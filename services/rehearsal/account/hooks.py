"""Every name of ministack's that our modules reach into, and whether this version still has it: `python -m
account.hooks`.

Read from our own sources, so that no list has to be kept; further files may be named. Prints JSON: {"version",
"pinned", "hooks": n, "missing": [...]}.
"""

import ast
import importlib
import importlib.metadata
import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).parent


def bound(tree: ast.AST) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Names that stand for a ministack module anywhere in a file, and what is imported out of such modules."""
    modules: dict[str, str] = {}
    imported: list[tuple[str, str]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for one in node.names:
                if one.name.startswith("ministack."):
                    modules[one.asname or one.name] = one.name
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "ministack":
            for one in node.names:
                path = f"{node.module}.{one.name}"
                try:
                    importlib.import_module(path)
                    modules[one.asname or one.name] = path
                except ModuleNotFoundError:
                    imported.append((node.module, one.name))
    return modules, imported


def hooks(path: Path) -> list[tuple[str, str]]:
    """(module, attribute or table[key]) for everything of ministack's that a file names."""
    tree = ast.parse(path.read_text())
    modules, found = bound(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            found.append((modules[node.value.id], node.attr))
        if (
            isinstance(node, ast.Subscript)
            and isinstance(node.value, ast.Attribute)
            and isinstance(node.value.value, ast.Name)
            and node.value.value.id in modules
            and node.value.attr.endswith(("_ACTION_MAP", "_HANDLERS"))
            and isinstance(node.slice, ast.Constant)
            and isinstance(node.ctx, ast.Load)
        ):
            found.append((modules[node.value.value.id], f"{node.value.attr}[{node.slice.value}]"))
    return found


def there(module: str, name: str) -> bool:
    owner = importlib.import_module(module)
    table = re.fullmatch(r"(\w+)\[(.+)\]", name)
    if table:
        return table[2] in getattr(owner, table[1], {})
    return hasattr(owner, name)


def main() -> None:
    pinned = re.search(r"^ministack==(\S+)", (HERE / "requirements.txt").read_text(), re.M)
    files = [path for path in HERE.glob("*.py") if path.name != "hooks.py"] + [Path(name) for name in sys.argv[1:]]
    used = sorted({(path.name, *hook) for path in files for hook in hooks(path)})
    missing = [f"{file}: {module}.{name}" for file, module, name in used if not there(module, name)]
    print(
        json.dumps(
            {
                "version": importlib.metadata.version("ministack"),
                "pinned": pinned[1] if pinned else "",
                "hooks": len(used),
                "missing": missing,
            }
        )
    )
    sys.exit(1 if missing else 0)


if __name__ == "__main__":
    main()
