"""Make bench/tables/speed.md and bench/tables/kernels.md of the JSON files in bench/results/.

    python -m bench.report

Whole solves come from `python -m bench.solve`, gradients and kernels on a CPU from `make bench`, kernels on a GPU from
`python -m bench.gpu_kernels`, what compiled kernels need from `python -m fastreg.kernels.compile_gate`. What is missing is named
with the command that measures it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent
SUITE = "suite.json"
GPU = {
    name: f"python -m bench.gpu_kernels {name} --output bench/results/{name}.json"
    for name in ("solver_step", "blur_gradient", "critic_gradient")
}

Document = dict[str, Any]


def duration(seconds: float) -> str:
    """With a unit that leaves three digits to read."""
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{1e3 * seconds:.2f} ms" if seconds >= 1e-3 else f"{1e6 * seconds:.1f} µs"


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
    """The whole solve of one machine and size."""
    case, rates = document["case"], document["roofline"]
    height, width = case["shape"][-2:]
    critic = "the released critic" if case["critic"] == "released" else "random weights in the released critic's layers"
    yield f"## Whole solve, {height}x{width}"
    yield ""
    yield (
        f"{case['iterations']} steps of Adam, {critic}, denoising at sigma {case['sigma']}, {case['photograph']}. "
        f"{machine(document)}."
    )
    yield (
        "Measured in the same run: "
        + ", ".join(f"convolution {key[5:]} {value / 1e9:.0f} GFLOP/s" for key, value in rates.items() if key != "copy")
        + f", copy {rates['copy'] / 1e9:.1f} GB/s. Median and quartiles, one run of each in turn; how many times faster, with "
        "the quartiles of the rounds. The distance is to the float64 solve, of which eager autograd in float32 is "
        f"{case['autograd_rms']:.1e} away."
    )
    yield ""
    ratios = {(entry["baseline"], entry["name"]): entry for entry in document.get("ratios", [])}
    table = []
    for row in document["rows"]:
        cells = [row["label"], row["precision"]]
        if "p50" in row:
            low, high = row["quartiles"]
            cells.append(f"{duration(row['p50'])} ({duration(low)} to {duration(high)})")
        else:
            cells.append(row.get("error", "not timed"))
        for baseline in ("autograd", "autograd-compiled"):
            entry = ratios.get((baseline, row["name"]))
            cells.append(
                f"{entry['ratio']:.2f} ({entry['quartiles'][0]:.2f} to {entry['quartiles'][1]:.2f})" if entry else ""
            )
        cells.append(f"{row['flop'] / 1e12:.2f}")
        cells.append(f"{100 * row['roofline']:.0f} %" if "roofline" in row else "")
        memory = row.get("memory")
        cells.append(f"{memory['solve'] / 1e6:.0f} MB ({memory['process'] / 1e6:.0f})" if memory else "")
        outside = "" if row["passed"] else " **outside the gate**"
        cells += [f"{row['rms']:.1e}{outside}", f"{row['psnr_change']:+.4f}"] if "rms" in row else ["", ""]
        table.append(cells)
    yield from rows_table(
        (
            "contender",
            "precision",
            "time",
            "over eager autograd",
            "over its torch.compile",
            "TFLOP",
            "of the roofline",
            "peak memory",
            "rms",
            "ΔPSNR, dB",
        ),
        table,
    )
    for row in document["rows"]:
        if "certified" in row:
            seen = row["certified"]
            looks = ", ".join(map(str, seen["looks"]))
            yield ""
            yield (
                f"{row['label']} ({row['precision']}): of {seen['gradients'] + seen['fallbacks']} gradients {seen['fallbacks']} "
                "took the full critic. In the others its channels behind the first layer provably had the signs that make it "
                f"affine there (`fastreg/certificates.py`), for which groups of them were looked at {looks} times."
            )
    if any("memory" in row for row in document["rows"]):
        yield ""
        yield (
            "Peak memory is what a solve adds to a warm process; in brackets, above the process before it compiled anything, "
            "with the compiler's own memory. The work of the optimized solve is that of the folded critic and its audit."
        )
    if document.get("start"):
        yield ""
        yield "First call less the second, in a fresh process:"
        yield ""
        for name, times in document["start"].items():
            yield (
                f"* `{name}`: {times['cold']['compiling']:.1f} s with an empty cache, {times['warm']['compiling']:.1f} s with "
                "a warm one"
            )


def suite(document: Document) -> Iterator[str]:
    """Gradients and kernels on a CPU, from pytest-benchmark."""
    yield "## Gradients and kernels on the CPU"
    yield ""
    yield f"From `make bench`: one after the other, not interleaved. {machine(document)}."
    groups: dict[str, list[Document]] = {}
    for row in document["benchmarks"]:
        groups.setdefault(row["group"] or "others", []).append(row)
    for name in sorted(groups):
        first = groups[name][0]["extra_info"]
        yield ""
        yield f"### {name}, {'x'.join(str(n) for n in first['shape'])}"
        yield ""
        yield from rows_table(
            ("contender", "precision", "p50", "quartiles", "GFLOP/s"),
            [
                (
                    row["extra_info"]["contender"],
                    row["extra_info"]["precision"],
                    duration(row["stats"]["median"]),
                    f"{duration(row['stats']['q1'])} to {duration(row['stats']['q3'])}",
                    f"{row['extra_info']['flop'] / row['stats']['median'] / 1e9:.1f}"
                    if "flop" in row["extra_info"]
                    else "",
                )
                for row in groups[name]
            ],
        )


def gpu(name: str, document: Document) -> Iterator[str]:
    """One kernel on a GPU: medians of interleaved runs."""
    yield f"## `{name}` on the GPU"
    yield ""
    yield f"{machine(document)}. Microseconds, medians of interleaved runs, and the quartiles."
    yield ""
    table = []
    for row in document["rows"]:
        what = ", ".join(str(row[key]) for key in ("critic", "psf", "size") if key in row)
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
        "`python -m fastreg.kernels.compile_gate bench/results/compile_gate.json`: registers a thread, shared memory a program. "
        f"{sum(bool(record['stack']) for record in records)} of {len(records)} spill registers.",
        "",
        *rows_table(("setting, kernel, case", *(f"sm_{architecture}" for architecture in architectures)), rows),
        "",
    ]
    return "\n".join(lines)


def page(results: Path) -> tuple[str, list[str]]:
    """The whole page, and what is missing."""
    lines = ["# Speed", "", "Generated by `python -m bench.report` from `bench/results/`; do not edit.", ""]
    missing = []
    solves = sorted(results.glob("solve-*.json"))
    if not solves:
        missing.append("whole solve: `python -m bench.solve`")
    for path in solves:
        lines += [*solve(json.loads(path.read_text())), ""]
    if (results / SUITE).exists():
        lines += [*suite(json.loads((results / SUITE).read_text())), ""]
    else:
        missing.append("gradients and kernels on a CPU: `make bench`")
    for name, command in GPU.items():
        path = results / f"{name}.json"
        if path.exists():
            lines += [*gpu(name, json.loads(path.read_text())), ""]
        else:
            missing.append(f"`{name}` on a GPU: `{command}`")
    if missing:
        lines += ["## Not measured", "", *(f"* {entry}" for entry in missing), ""]
    return "\n".join(lines), missing


def main(arguments: Sequence[str]) -> None:
    """Read every result, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=ROOT / "results")
    parser.add_argument("--output", type=Path, default=ROOT / "tables" / "speed.md")
    options = parser.parse_args(arguments)
    text, missing = page(options.results)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(text)
    gate = options.results / "compile_gate.json"
    if gate.exists():
        (options.output.parent / "kernels.md").write_text(kernels(json.loads(gate.read_text())))
    else:
        missing.append(
            "what compiled kernels need: `python -m fastreg.kernels.compile_gate bench/results/compile_gate.json`"
        )
    for entry in missing:
        print(f"missing: {entry}")


if __name__ == "__main__":
    main(sys.argv[1:])
