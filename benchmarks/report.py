"""The size of the page, and how long it takes to write and to become interactive in Chromium.

    uv run benchmarks/report.py            # 10,000 trials × 100 epochs in three shapes, and 40 × 10; 3 rounds
    uv run benchmarks/report.py --trials 24 --epochs 30
    uv run benchmarks/report.py --images 10000   # with predictions of as many test images
    uv run benchmarks/report.py --json benchmarks/results/report.json

Shapes: few arms with many seeds, many arms with few seeds, one search, and 40 arms × 10 seeds with names of 60
characters; their numbers are random. Written: from
Parquet on disk to report.html on disk, in a process that has imported the package. Interactive: from the start of the
navigation to the end of the load event, including the page's script. Drawn: until every figure is drawn. The results
are in docs/page.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":  # the root instead of this folder, whose statistics.py would hide Python's own
    sys.path[0] = str(Path(__file__).parents[1])

import argparse
import http.server
import io
import json
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.record import parsed, record
from scl import report
from scl.store.files import Folder, open_folder
from scl.store.schema import SCHEMA_VERSION, TRIALS
from scl.store.study_file import write_study

LONG = "resnet8x4-on-cifar100/channel-correlation-{}/temperature-4/x"  # about 60 characters

# Added to a copy of the page without its CSP, which would forbid it: reports to this benchmark when the page is ready.
PROBE = """<script>
addEventListener("load", () => {
  const start = setInterval(() => {
    if ([...document.querySelectorAll(".plot")].some((d) => d.dataset.drawn !== "yes")) return;
    clearInterval(start);
    const n = performance.getEntriesByType("navigation")[0];
    fetch("/done", { method: "POST", body: JSON.stringify([n.loadEventEnd || n.domComplete, performance.now()]) });
  }, 20);
});
</script></body>"""


def random_store(
    folder: Path, arms: int, seeds: int, epochs: int, search: bool, images: int = 0, name: str = "arm-{}"
) -> Folder:
    """Write a store of random numbers for arms × seeds, or for a search with arms × seeds trials.

    images: of predictions of each trial, with 100 classes; 0 for no predictions. name: of the arms.

    Beside the trials of a search, 5 winners and the baseline have 5 seeds each.
    """
    rng = np.random.default_rng(0)
    store = open_folder(str(folder))
    if search:
        n = arms * seeds
        confirm = [(arm, 1000 + s) for arm in ["baseline", *[f"winner-{i}" for i in range(1, 6)]] for s in range(5)]
        trials = [("search", 0)] * n + confirm
        names = ["baseline", *[f"winner-{i}" for i in range(1, 6)]]
    else:
        names = ["baseline", *[name.format(i) for i in range(1, arms)]]
        trials = [(arm, seed) for seed in range(seeds) for arm in names]
    effect = {arm: 0.0005 * i / max(len(names), 1) * 40 for i, arm in enumerate(names)} | {"search": 0.0}
    size = len(trials)
    luck = rng.normal(0, 0.004, max(seed for _, seed in trials) + 1)
    final = np.array([0.7 + effect[arm] + luck[seed] for arm, seed in trials]) + rng.normal(0, 0.002, size)
    ids = [f"{i:064x}" for i in range(size)]
    frame = pd.DataFrame({"trial_id": ids, "study": "random", "arm": [a for a, _ in trials]})
    frame["seed"] = [s for _, s in trials]
    frame["config_id"], frame["state"], frame["teacher_id"] = frame["arm"], "completed", "t"
    frame["test_acc"], frame["val_acc"], frame["teacher_test_acc"] = final, final + 0.003, 0.76
    frame["test_acc_at_best_val"], frame["test_acc_best"] = final - 0.001, final + 0.002
    frame["agreement"], frame["ece"], frame["teacher_kl"] = final + 0.03, 0.05 * final, 0.2 * final
    frame["params"], frame["macs"] = rng.integers(1, 9, size) * 10_000, rng.integers(1, 9, size) * 1_000_000
    frame["latency_ms"], frame["epochs"], frame["train_seconds"], frame["device"] = 1.2, epochs, 30.0, "cuda"
    if search:
        searched = frame["arm"] == "search"
        frame["number"] = pd.Series(np.where(searched, np.arange(size), np.nan)).astype("Int64")
        for name in ("weight.kd", "weight.channel", "lr"):
            frame[f"param.{name}"] = 10 ** rng.uniform(-2, 1, size)
        frame.loc[searched, "val_acc"] += 0.01 * np.log10(frame.loc[searched, "param.weight.kd"])
        frame.loc[searched & (np.arange(size) % 2 == 0), "state"] = "pruned"
    table = pa.Table.from_pandas(frame, preserve_index=False)
    missing = [field for field in TRIALS if field.name not in table.schema.names]
    for field in missing:
        table = table.append_column(field, pa.nulls(size, field.type))
    store.write("trials.parquet", _bytes(table))

    epoch = np.tile(np.arange(1, epochs + 1, dtype=np.int32), size)
    reached = np.repeat(final, epochs) * (1 - 0.7 * np.exp(-5 * epoch / epochs))
    columns = {"trial_id": np.repeat(ids, epochs), "epoch": epoch, "test_acc": reached, "val_acc": reached}
    columns |= {"weighted.ce": 2 * (1 - reached), "weighted.kd": 0.3 + 0 * reached}
    floats = {k: v.astype(np.float32) for k, v in columns.items() if k not in ("trial_id", "epoch")}
    store.write("epochs.parquet", _bytes(pa.table({"trial_id": columns["trial_id"], "epoch": epoch, **floats})))
    if images:
        labels = np.arange(images, dtype=np.uint16) % 100
        wrong = rng.random((size + 1, images), dtype=np.float32) > 0.7
        rows = np.where(wrong, (labels + 1 + rng.integers(0, 99, images)) % 100, labels).astype(np.uint16)
        values = np.concatenate([labels, rows.ravel()])
        lists = pa.ListArray.from_arrays(np.arange(0, len(values) + 1, images, dtype=np.int32), values)
        store.write("predictions.parquet", _bytes(pa.table({"trial_id": ["labels", *ids, "t"], "predicted": lists})))
    document = {
        "schema_version": SCHEMA_VERSION,
        "study": "random",
        "baseline": "baseline",
        "arms": {name: {} for name in names},
        "data": {"name": "random", "test": 10_000, "classes": 100},
        "plan": [{"arm": a, "seed": s, "trial_id": i} for (a, s), i in zip(trials, ids, strict=True)],
    }
    if search:
        log = {"low": 0.01, "high": 10.0, "log": True}
        document["search_space"] = dict.fromkeys(("weight.kd", "weight.channel", "lr"), log)
    write_study(store, document)
    return store


def _bytes(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def interactive(page: str, chromium: str) -> tuple[float, float]:
    """Seconds until the end of the load event, and until every figure is drawn, in a fresh headless Chromium."""
    times: list[list[float]] = []
    arrived = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(probed if self.path == "/" else b"")

        def do_POST(self) -> None:
            times.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()
            arrived.set()

        def log_message(self, *_: object) -> None:
            pass

    start = page.index('<meta http-equiv="Content-Security-Policy"')
    probed = (page[:start] + page[page.index(">", start) + 1 :]).replace("</body>", PROBE).encode()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    flags = (
        "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
        "--disable-component-update --disable-sync --window-size=1280,900 --remote-debugging-port=0"
    )
    with tempfile.TemporaryDirectory() as profile:
        browser = subprocess.Popen(
            [chromium, *flags.split(), f"--user-data-dir={profile}", f"http://127.0.0.1:{server.server_port}/"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            if not arrived.wait(180):
                raise TimeoutError("the page was not drawn within 180 s")
        finally:
            browser.terminate()
            browser.wait(30)
            server.shutdown()
    return times[0][0] / 1000, times[0][1] / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=0)
    options = parsed(parser)
    chromium = next((p for p in ("chromium", "chromium-browser", "google-chrome") if shutil.which(p)), "")
    few = max(round(options.trials**0.5), 2)
    shapes = {
        "arms × seeds, square": (few, options.trials // few, False),
        "many arms × 5 seeds": (max(options.trials // 5, 2), 5, False),
        "one search": (options.trials, 1, True),
        "long names": (40, 10, False),
    }
    figures: dict[str, Any] = {"trials": options.trials, "epochs": options.epochs}
    print(f"{options.trials:,} trials × {options.epochs} epochs, {options.rounds} rounds: median (all)")
    for name, (arms, seeds, search) in shapes.items():
        with tempfile.TemporaryDirectory() as folder:
            named = LONG if name == "long names" else "arm-{}"
            store = random_store(Path(folder) / "s", arms, seeds, options.epochs, search, options.images, named)
            written: list[float] = []
            ready: list[float] = []
            drawn: list[float] = []
            size = 0
            for _ in range(options.rounds):
                started = time.perf_counter()
                report.write(store)
                written.append(time.perf_counter() - started)
                page = store.read("report.html")
                size = len(page)
                if chromium:
                    times = interactive(page.decode(), chromium)
                    ready.append(times[0])
                    drawn.append(times[1])
        figures[name] = {"arms": arms, "seeds": seeds, "page_mb": size / 1e6}
        figures[name] |= {"written_s": written, "interactive_s": ready, "drawn_s": drawn}
        parts = [f"written {_text(written)}", f"{size / 1e6:.2f} MB"]
        parts += [f"interactive {_text(ready)}", f"all figures drawn {_text(drawn)}"] if chromium else ["no Chromium"]
        print(f"{name} ({arms:,} × {seeds}): " + ", ".join(parts), flush=True)
    record("report", figures, options.json, n=options.rounds)


def _text(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} s ({', '.join(f'{v:.2f}' for v in sorted(values))})"


if __name__ == "__main__":
    main()
