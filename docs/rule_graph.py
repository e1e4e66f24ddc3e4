"""The rule graph of docs/architecture.md, drawn again by ``make graphs``."""

import re
import sys
from pathlib import Path

Edge = tuple[str, str]


def read_edges(mermaid: str) -> set[Edge]:
    """Return the pairs of rules, the earlier one first, of a graph that Snakemake draws."""
    names = dict(re.findall(r"^\s*(id\d+)\[(\w+)\]$", mermaid, re.MULTILINE))
    edges = re.findall(r"^\s*(id\d+) --> (id\d+)$", mermaid, re.MULTILINE)
    return {(names[source], names[target]) for source, target in edges}


def without_implied(edges: set[Edge]) -> list[Edge]:
    """Return the edges, sorted, that do not follow from others. There must be no circle."""
    return sorted(edge for edge in edges if not _leads(edges - {edge}, *edge))


def _leads(edges: set[Edge], source: str, target: str) -> bool:
    """Tell whether a path leads from one rule to another."""
    followers = {end for start, end in edges if start == source}
    return target in followers or any(_leads(edges, one, target) for one in followers)


def main() -> None:
    """Replace the graph in the file that the command names."""
    edges = without_implied(read_edges(sys.stdin.read()))
    lines = [f"\t{source} --> {target}" for source, target in edges]
    graph = "\n".join(["```mermaid", "flowchart TB", *lines, "```"])
    path = Path(sys.argv[1])
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r"```mermaid\n.*?```", graph, text, flags=re.DOTALL), encoding="utf-8")


if __name__ == "__main__":
    main()
