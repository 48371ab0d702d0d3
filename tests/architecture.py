"""Who may import whom, from the syntax tree: imports inside functions count too. `violations` takes any source folder.

spec, errors, files  <-  learn  <-  app        never upward
"""

import ast
from collections.abc import Iterator
from pathlib import Path

FLOORS = {"": 0, "read": 1, "learn": 2, "app": 3}  # a room imports its own floor and those below
GROUND = {"spec", "errors", "results", "files", "__init__"}  # modules that stand on the ground, at the package's top
TORCH = """augment synthesis model kernel optimizer device batches train
           callbacks checkpoint adapt distributed explain export
           checkpoints recovery state conclude resume team
           train_reader train_reading reader_network rownet train_rows export_rows graph scoring averaging kept shown
           shipped"""
HEAVY = {  # package -> the modules that may import it
    "torch": {f"learn.{name}" for name in TORCH.split()},
    "ray": {"app.cluster", "app.read_many", "app.sweep", "learn.distributed"},
    "onnxruntime": {"read.recognise"},
    "keras": set(),
    "tensorflow": set(),
}
NOT_LEARN = {
    "app.serve",
    "app.read_many",
    "app.archive",
    "app.job",
    "app.cluster",
    "app.corrections",
}  # they read, and need no PyTorch
TRAININGS = ("learn.train", "learn.train_reading", "learn.train_reader", "learn.train_rows", "learn.synthesis")
NEVER_LEARNT_FROM = "learn.corruptions"  # what a model is tried with
LAZY = {
    "app.cli",
    "app.learn_commands",
    "app.read_commands",
    "app.scale_commands",
    "app.options",
}  # import what a command needs inside that command


def violations(source: Path) -> list[str]:
    """Every import that breaks a rule, as "module imports target: why"."""
    found = []
    for path in sorted(source.rglob("*.py")):
        module = ".".join(path.relative_to(source).with_suffix("").parts)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for target, outermost in imports(tree, module):
            found += [f"{module} imports {target}: {why}" for why in _broken(module, target, outermost)]
    return found


def reached(source: Path, start: str) -> set[str]:
    """Every module of ours that importing this one may import, inside functions too, by whatever way."""
    found, ahead = set(), [start]
    while ahead:
        module = ahead.pop()
        path = source.joinpath(*module.split(".")).with_suffix(".py")
        if module in found or not path.exists():
            continue
        found.add(module)
        targets = imports(ast.parse(path.read_text(encoding="utf-8")), module)
        ahead += [target.removeprefix("numerals.") for target, _ in targets if target.startswith("numerals.")]
    return found


def imports(tree: ast.Module, module: str) -> Iterator[tuple[str, bool]]:
    """Each imported module, and whether it is imported when the file is; not what only the type checker sees."""
    hidden = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.unparse(block.test)
        for node in ast.walk(block)
    }
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) not in inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = ["numerals", *module.split(".")][: -node.level] if node.level else []
            base = ".".join([*package, *([node.module] if node.module else [])])
            yield base, id(node) not in inside
            yield from ((f"{base}.{alias.name}", id(node) not in inside) for alias in node.names)


def _broken(module: str, target: str, outermost: bool) -> Iterator[str]:
    top = target.split(".")[0]
    if top in HEAVY and module not in HEAVY[top]:
        yield f"only {', '.join(sorted(HEAVY[top])) or 'nobody'} may"
    if top != "numerals" or module in ("__init__", "__main__"):
        return
    room = target.split(".")[1] if target.count(".") else ""
    if FLOORS.get(room, 0) > FLOORS[_room(module)]:
        yield "upward"
    if module in NOT_LEARN and room == "learn":
        yield "it must not need what learns"
    if module in LAZY and outermost and FLOORS.get(room, 0) in (1, 2):
        yield "only inside the command that needs it"


def _room(module: str) -> str:
    return module.split(".")[0] if "." in module else ""
