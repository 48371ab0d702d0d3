"""Check the import rules of docs/design.md on the syntax tree, including imports inside functions.

Functions take the source folder as an argument, so that the tests can check that a broken rule is found.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGES = [  # each may import only from those before it
    *("spec", "errors", "files", "processes", "results", "seeds"),
    *("read", "ops", "article", "plots", "runs", "handwriting", "readers", "export", "report", "interface", "sklearn"),
    *("scale", "server", "__init__", "cli", "__main__"),
]
SIBLINGS = {"spec", "errors", "files", "processes", "results", "seeds"}  # these may import each other
NO_TORCH = {"spec", "errors", "files", "processes", "results", "read", "server"}  # not even indirectly
OWNERS = {
    "ray": {"scale"},
    "onnxruntime": {"read.recognise"},
    "keras": {"export.keras_model"},
    "tensorflow": set[str](),
}
TRAININGS = (
    "runs.train",
    "readers.train",
    "readers.adapt",
    *(f"handwriting.{name}" for name in ("digits", "rows", "pages")),
)
ONLY_FOR_TESTING_MODELS = "report.corruptions"


def violations(source: Path) -> list[str]:
    """The imports that break a rule, as lines "module imports target: why"."""
    graph, with_types = import_graph(source), import_graph(source, type_only=True)
    found = [
        f"{module} imports {target}: {why}"
        for module, targets in with_types.items()
        for target in sorted(targets)
        for why in _broken_rules(module, target)
    ]
    found += [f"{' -> '.join(cycle)}: a circle" for cycle in cycles(with_types)]
    at_start = {module: {target: True for target, at_top in graph[module].items() if at_top} for module in graph}
    loaded_by_cli = (
        {module for module in reached(at_start, "cli.main") if package_of(module) in PACKAGES}
        if "cli.main" in graph
        else set()
    )
    found += [
        f"cli.main imports {module} when it starts: commands import what they need inside the command"
        for module in sorted(loaded_by_cli)
        if package_of(module) not in SIBLINGS | {"cli", "__init__"}
    ]
    for module in graph:
        if package_of(module) in NO_TORCH and (path := path_to_torch(graph, module)):
            found.append(f"{' -> '.join(path)}: {module} must not need torch")
    return found


Graph = dict[str, dict[str, bool]]  # module -> imported module -> whether it is imported at the top level


def import_graph(source: Path, type_only: bool = False) -> Graph:
    """The imports of each module: ours as "article.data", those of other packages by their top-level name.

    With `type_only`, those under TYPE_CHECKING count too.
    """
    paths = {_name(path, source): path for path in sorted(source.rglob("*.py"))}
    graph: Graph = {}
    for module, path in paths.items():
        targets: dict[str, bool] = {}
        for target, at_top in imports(ast.parse(path.read_text(encoding="utf-8")), path.relative_to(source), type_only):
            if target.split(".")[0] != "numerals":
                targets[target.split(".")[0]] = at_top or targets.get(target.split(".")[0], False)
                continue
            ours = _resolve(target, paths)
            targets[ours] = at_top or targets.get(ours, False)
        graph[module] = {target: at_top for target, at_top in targets.items() if target != module}
    return graph


def reached(graph: Graph, start: str) -> set[str]:
    """Every module that `start` imports, directly or indirectly, including imports inside functions."""
    modules: set[str] = set()
    waiting = [start]
    while waiting:
        module = waiting.pop()
        if module not in modules:
            modules.add(module)
            waiting += [target for target in graph.get(module, {}) if target != "__init__"]
    return modules


def cycles(graph: Graph) -> list[list[str]]:
    """The shortest circle of imports through each module that is in one."""
    circles = []
    for start in graph:
        paths = {target: [start, target] for target in graph[start] if target in graph and target != "__init__"}
        waiting = list(paths)
        while waiting and start not in paths:
            module = waiting.pop(0)
            for target in graph[module]:
                if target in graph and target not in paths and target != "__init__":
                    paths[target] = [*paths[module], target]
                    waiting.append(target)
        if start in paths:
            circles.append(paths[start])
    return circles


def path_to_torch(graph: Graph, start: str) -> list[str] | None:
    """The chain of imports from `start` to torch; None if there is none."""
    paths = {start: [start]}
    waiting = [start]
    while waiting:
        module = waiting.pop(0)
        for target in graph.get(module, {}):
            if target == "torch":
                return [*paths[module], "torch"]
            if target not in paths and target != "__init__":
                paths[target] = [*paths[module], target]
                waiting.append(target)
    return None


def imports(tree: ast.Module, path: Path, type_only: bool = False) -> Iterator[tuple[str, bool]]:
    """Each imported name, and whether at the top level; with `type_only`, those under TYPE_CHECKING too."""
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
        if id(node) in hidden and not type_only:
            continue
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) not in inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            package = ["numerals", *path.parts[:-1]][: len(path.parts) - node.level + 1] if node.level else []
            base = ".".join([*package, *([node.module] if node.module else [])])
            yield from ((f"{base}.{alias.name}", id(node) not in inside) for alias in node.names)


def package_of(module: str) -> str:
    return module.split(".")[0]


def _broken_rules(module: str, target: str) -> Iterator[str]:
    importer, imported = package_of(module), package_of(target)
    if imported in OWNERS and not OWNERS[imported] & {module, importer}:
        yield f"only {', '.join(sorted(OWNERS[imported])) or 'no module'} may"
    if importer not in PACKAGES:
        yield "its package is not in the list"
    if imported not in PACKAGES or imported == "__init__" or importer == "__init__":
        return  # numerals/__init__.py loads its names lazily, and any module may import the version from it
    if PACKAGES.index(imported) > PACKAGES.index(importer) and not {importer, imported} <= SIBLINGS:
        yield "upward"


def _name(path: Path, source: Path) -> str:
    """The dotted name of a module: article/fit.py -> article.fit, article/__init__.py -> article."""
    parts = path.relative_to(source).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def _resolve(target: str, modules: dict[str, Path]) -> str:
    """Our module in a dotted name: "numerals.article.data.split" -> "article.data"."""
    parts = target.split(".")[1:]
    while parts and ".".join(parts) not in modules:
        parts.pop()
    return ".".join(parts) or (
        target.split(".")[1] if target.count(".") and target.split(".")[1] in PACKAGES else "__init__"
    )
