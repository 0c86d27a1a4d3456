"""Make bench/tables/speed.md and bench/tables/kernels.md of the JSON files in bench/results/.

    python -m bench.report

Whole solves come from `python -m bench.solve`, kernels on a GPU from `python -m bench.kernels`, what compiled kernels need
from `python -m bench.compile_gate`. What is missing is named with the command that measures it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent
KERNELS = "python -m bench.kernels --device cuda --output bench/results/kernels-GPU.json"
GATE = "python -m bench.compile_gate bench/results/compile_gate.json"

Document = dict[str, Any]


def machine(document: Document) -> str:
    """Hardware, threads, versions and commit in a sentence."""
    about = document["machine"]
    parts = [about[key] for key in ("gpu", "device", "cpu") if about.get(key)][:1]
    if "gpu" not in about and "threads" in about:
        parts.append(f"{about['threads']} threads, {about.get('instructions', 'unknown instructions')}")
    parts += [f"{key} {about[key]}" for key in ("torch", "triton", "cuda", "fastreg") if about.get(key)]
    if about.get("commit"):
        parts.append(f"commit {about['commit']}")
    return ", ".join(parts)


def rows_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A table whose first column is text and whose others are numbers."""
    yield "| " + " | ".join(headings) + " |"
    yield "|---|" + "--:|" * (len(headings) - 1)
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def solve(document: Document) -> Iterator[str]:
    """The whole solves of one machine and size."""
    yield f"{machine(document)}. Medians of interleaved runs, and how many times faster than the first contender, each with the"
    yield "quartiles of the rounds. PSNR is that of this photograph, its change and the distance (root mean square) are to the"
    yield "float64 solve. DRUNet (32.6 million parameters) and DnCNN have random weights, for the time alone. Total variation has"
    yield "the weight that is best for this photograph. The network alone: its evaluations without the rest of the solve."
    for case in document["cases"]:
        height, width = case["shape"][-2:]
        yield ""
        yield f"## {case['task']}, {height}x{width}"
        yield ""
        steps = f"{case['iterations']} steps of {case['solver']}"
        yield f"`{case['model']}`, {steps}, sigma {case['sigma']}, {case['photograph']}."
        yield ""
        table = []
        for row in case["rows"]:
            ratio, (low, high) = row["ratio"], row["quartiles"]
            outside = "" if row.get("passed", True) else " **outside the gate**"
            table.append(
                [
                    row["label"],
                    row["precision"],
                    f"{row['p50']:.2f} s ({low:.2f} to {high:.2f})",
                    f"{ratio['ratio']:.2f} ({ratio['quartiles'][0]:.2f} to {ratio['quartiles'][1]:.2f})",
                    f"{row['psnr']:.2f}" if "psnr" in row else "",
                    f"{row['rms']:.1e}{outside}" if "rms" in row else "",
                    f"{row['psnr_change']:+.4f}" if "rms" in row else "",
                ]
            )
        yield from rows_table(("contender", "precision", "time", "times faster", "PSNR", "rms", "ΔPSNR, dB"), table)


def ways(document: Document) -> Iterator[str]:
    """The ways to compute a blur and a critic on one device: medians of interleaved runs."""
    yield "## Blurs and critics"
    yield ""
    yield f"{machine(document)}. Microseconds, medians of interleaved runs, and the quartiles."
    yield ""
    table = []
    for row in document["rows"]:
        what = ", ".join(str(row[key]) for key in ("critic", "psf", "taps", "size") if key in row)
        if "microseconds" not in row:
            table.append((what, row.get("precision", "ieee"), f"not timed, wrong: {', '.join(row['wrong'])}", ""))
            continue
        times = row["microseconds"]
        best = min(times, key=lambda side: float(times[side]["median"]))
        cells = [
            f"{'**' if side == best else ''}{side} {entry['median']:.0f}{'**' if side == best else ''} "
            f"({entry['lower_quartile']:.0f} to {entry['upper_quartile']:.0f})"
            for side, entry in times.items()
        ]
        table.append((what, row.get("precision", "ieee"), "; ".join(cells), row.get("planned", "")))
    yield from rows_table(("case", "precision", "sides", "planned"), table)


def kernels(document: Document) -> str:
    """What every Triton kernel needs on every architecture, as the compiler says."""
    records = document["records"]
    architectures = sorted({record["architecture"] for record in records})
    needs = {(record["name"], record["architecture"]): record for record in records}
    rows = []
    for name in dict.fromkeys(record["name"] for record in records):
        cells = []
        for architecture in architectures:
            found = needs[name, architecture]
            spilled = f", **{found['stack']} spilled**" if found["stack"] else ""
            cells.append(f"{found['registers']}, {found['shared'] / 1024:.0f} KiB{spilled}")
        rows.append((f"`{name}`", *cells))
    lines = ["# Kernels, compiled", "", "Generated by `python -m bench.report` from `bench/results/`; do not edit.", ""]
    lines += [
        f"Every Triton kernel with every launch setting that ships, compiled by Triton {document['triton']} without a GPU by "
        f"`{GATE}`: registers a thread, shared memory a program. "
        f"{sum(bool(record['stack']) for record in records)} of {len(records)} spill registers.",
        "",
        *rows_table(("setting, kernel, case", *(f"sm_{architecture}" for architecture in architectures)), rows),
        "",
    ]
    return "\n".join(lines)


def page(results: Path) -> tuple[str, list[str]]:
    """The page of speeds, and what is missing."""
    lines = ["# Speed", "", "Generated by `python -m bench.report` from `bench/results/`; do not edit.", ""]
    missing = []
    solves = sorted(results.glob("solve-*.json"))
    if not solves:
        missing.append("whole solves: `python -m bench.solve`")
    for path in solves:
        lines += [*solve(json.loads(path.read_text())), ""]
    timed = [json.loads(path.read_text()) for path in sorted(results.glob("kernels-*.json"))]
    for document in timed:
        lines += [*ways(document), ""]
    if not any("gpu" in document["machine"] for document in timed):
        missing.append(f"blurs and critics on a GPU: `{KERNELS}`")
    if missing:
        lines += ["## Not measured", "", *(f"* {entry}" for entry in missing), ""]
    return "\n".join(lines), missing


def main(arguments: Sequence[str] | None = None) -> None:
    """Read every result, and write the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    parser.add_argument("--tables", type=Path, default=ROOT / "tables")
    options = parser.parse_args(arguments)
    text, missing = page(options.results)
    options.tables.mkdir(parents=True, exist_ok=True)
    (options.tables / "speed.md").write_text(text)
    gate = options.results / "compile_gate.json"
    if gate.exists():
        (options.tables / "kernels.md").write_text(kernels(json.loads(gate.read_text())))
    else:
        missing.append(f"what compiled kernels need: `{GATE}`")
    for entry in missing:
        print(f"missing: {entry}")


if __name__ == "__main__":
    main()
