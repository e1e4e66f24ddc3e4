"""Draw the benchmark's results: ``python tests/benchmark/picture.py RESULTS.json PICTURE.svg``."""

import json
import sys
from pathlib import Path
from typing import Any

import altair

CORPORA = {"librittslike": "LibriTTS's lengths, 0.7 to 20 s", "short": "utterances of 0.7 s"}


def bars(results: list[dict[str, Any]], title: str) -> altair.LayerChart:
    """Return a bar for each candidate: its speed, as a multiple of the baseline's."""
    rows = [
        {
            "candidate": f"{result['name']}, {result['n_jobs']} x {result['threads']}",
            "precision": result["precision"],
            "ratio": result["ratio_steady"],
            "label": f"{result['ratio_steady']:.2f}",
        }
        for result in results
    ]
    base = altair.Chart(altair.Data(values=rows)).encode(
        x=altair.X("ratio:Q", title="speed, multiple of SpeechBrain one by one"),
        y=altair.Y("candidate:N", sort=None, title=None, axis=altair.Axis(labelLimit=300)),
        yOffset=altair.YOffset("precision:N", sort=["fp32", "tf32", "bf16"]),
    )
    chart = base.mark_bar().encode(
        color=altair.Color("precision:N", sort=["fp32", "tf32", "bf16"], title="precision")
    )
    return (chart + base.mark_text(align="left", dx=3).encode(text="label:N")).properties(
        title=title, width=480
    )


def main(source: Path, target: Path) -> None:
    """Draw the results in `source` into `target`."""
    results = json.loads(source.read_text(encoding="utf-8"))
    found = {corpus: title for corpus, title in CORPORA.items() if corpus in results}
    charts = [bars(results[corpus], title) for corpus, title in found.items()]
    picture = altair.vconcat(*charts).properties(
        title={
            "text": "Steady state of whole jobs (jobs x threads)",
            "subtitle": f"{results['machine']}, {results['date']}",
        }
    )
    picture.save(target)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
