"""Measures, and prints one table."""

import argparse
import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from bench import (
    api,
    decoding,
    duplicates,
    embedding,
    endurance,
    exact,
    hybrid,
    memory,
    overload,
    photos,
    queries,
    regions,
    scale,
    service,
    startup,
    vectors,
)
from bench.bench import Bench, opened
from bench.table import Chart, Row, print_table

BENCHES: dict[str, Callable[[Bench], Iterator[Row | Chart]]] = {
    "embedding": embedding.rows,
    "decoding": decoding.rows,
    "vectors": vectors.rows,
    "exact": exact.rows,
    "photos": photos.rows,
    "hybrid": hybrid.rows,
    "regions": regions.rows,
    "queries": queries.rows,
    "duplicates": duplicates.rows,
    "startup": startup.rows,
    "api": api.rows,
    "service": service.rows,
    "overload": overload.rows,
    "memory": memory.rows,
    "endurance": endurance.rows,
    "scale": scale.rows,
}
LONG = {"duplicates", "endurance", "memory", "scale"}  # only when asked for by name
_WHAT = """\
benchmarks:
  embedding   pictures a second against ONNX Runtime alone, for CLIP ViT-B/32 and the fallback; peak memory
  decoding    what it costs that strangers' pictures are decoded in processes of their own
  vectors     recall and latency of a search among 100,000 vectors, 512 and 1280 dimensions
  exact       search without pgvector, among 10,000 and 100,000 vectors
  photos      import and index; quality (only with --photos)
  hybrid      whether words help a damaged photo find its product (only with --photos)
  regions     the parts of a photo that stand out: which are found, at what cost, and what searching them finds
              (only with --photos)
  duplicates  precision and recall of near duplicates (only with --photos); what they
              cost among 10,000 and 100,000 pictures; half an hour, only when named
  queries     a search by photo over HTTP: latency, and throughput with four clients
  startup     second start to the first answer; git clone to the first result
  api         a search by photo beside a CLIP service, among 100,000 images: what the API adds, and a photo again
  service     the CLIP service over HTTP: throughput of 4 and 16 clients, latency of one, against ONNX Runtime alone
              and against FastAPI and transformers (only with $SEESAME_BENCH_TORCH_PYTHON, an interpreter that has
              torch, transformers, fastapi, uvicorn and python-multipart)
  overload    the CLIP service at ten times its peak for a minute
  scale       a million vectors: load, index, recall, latency, throughput, filters, price updates; a quarter of an hour,
              only when named ($SEESAME_BENCH_COUNT: how many vectors; usearch is compared with if it is installed)
  memory      the CLIP service's memory after 10,000 requests: ten minutes, only when named
  endurance   memory and open files over 100,000 requests of all kinds, good and bad: half an hour, only when named
              ($SEESAME_BENCH_COUNT: how many)
"""


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure, and print one table. Progress goes to stderr; all that is written is deleted again.",
        epilog=_WHAT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="name",
        help="which benchmarks (default: all but duplicates, endurance, memory and scale)",
    )
    parser.add_argument("--markdown", action="store_true", help="print the table as markdown")
    parser.add_argument(
        "--photos",
        type=Path,
        default=os.environ.get("SEESAME_BENCH_PHOTOS") or None,
        help="folder with photos.csv: file, label, sender (default: $SEESAME_BENCH_PHOTOS)",
    )
    options = parser.parse_args()
    unknown = set(options.names) - set(BENCHES)
    if unknown:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))} (there are {', '.join(BENCHES)})")
    if options.photos is not None and not (options.photos / "photos.csv").is_file():
        parser.error(f"{options.photos} has no photos.csv")
    rows: list[Row | Chart] = [Row("machine", _machine())]
    busy = []
    with opened(options.photos) as bench:
        try:
            for name in options.names or [name for name in BENCHES if name not in LONG]:
                busy.append(psutil.cpu_percent(interval=2))
                started = time.monotonic()
                bench.say(f"── {name}")
                rows += BENCHES[name](bench)
                bench.say(f"── {name} took {time.monotonic() - started:.0f} s")
        finally:  # what was measured is shown, also where a later benchmark fails
            rows.append(Row("busy with other things before each benchmark", ", ".join(f"{b:.0f}%" for b in busy)))
            print_table(rows, markdown=options.markdown)


def _machine() -> str:
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {gigabytes:.0f} GB, {_processor()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


if __name__ == "__main__":
    main()
