"""All that a GPU is to show, in pieces: cut anywhere, the end is that of an uncut run; and files that travel."""

from __future__ import annotations

import hashlib
import io
import json
import random
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pandas as pd
import pytest

from benchmarks import gpu, packs
from benchmarks.gpu import Part, Work, piece, summary
from benchmarks.kernels import KINDS, kind_of
from scl import load

ROOT = Path(__file__).parents[2]


class Machine:
    """A clock, and what runs by it: a benchmark needs its seconds at once, a study trains cohorts of 20 s."""

    def __init__(self, work: Work, needs: dict[str, float]) -> None:
        self.now, self.work, self.needs, self.ran = 0.0, work, needs, list[str]()

    def run(self, command: Sequence[str], log: Path, seconds: float) -> int:
        name = log.stem
        self.ran.append(name)
        budget = float(command[command.index("--time-budget") + 1]) if "--time-budget" in command else seconds
        store = self.work.folder / f"{name}.json"
        done = json.loads(store.read_text()) if store.exists() else 0
        need = self.needs[name]
        if "--time-budget" not in command:
            self.now += min(need, seconds)
            if need > seconds:
                return 124
            (self.work.folder / "figures" / f"{name}.json").write_text(json.dumps({"need": need}))
            return 0
        while done * 20 < need:
            if budget < 20:
                return 3
            self.now, budget, done = self.now + 20, budget - 20, done + 1
            store.write_text(json.dumps(done))
        return 0


PARTS = [
    Part("tests", ("a",), 10),
    Part("step", ("b",), 100),
    Part("pair", ("c",), 30, goes_on=True),
    Part("kernels", ("d",), 20),
    Part("headline", ("e",), 30, goes_on=True),
]
NEEDS = {"tests": 30.0, "step": 120.0, "pair": 700.0, "kernels": 40.0, "headline": 2000.0}


def all_pieces(work: Work, lengths: Sequence[float]) -> Machine:
    machine = Machine(work, NEEDS)
    for seconds in lengths:
        began = machine.now
        piece(PARTS, work, seconds, lambda: None, clock=lambda: machine.now, run=machine.run)
        assert machine.now - began <= seconds + 1e-6
        machine.now += 1000  # another call
    return machine


def told(work: Work) -> dict[str, object]:
    found = summary(PARTS, work)
    return {"states": {n: s["state"] for n, s in found["parts"].items()}, "figures": found["figures"]}


@pytest.mark.parametrize("seed", range(8))
def test_pieces_of_any_length_end_as_an_uncut_run(seed: int, tmp_path: Path) -> None:
    uncut, cut = Work(tmp_path / "uncut"), Work(tmp_path / "cut")
    all_pieces(uncut, [10_000])
    dice = random.Random(seed)
    machine = all_pieces(cut, [dice.uniform(50, 400) for _ in range(40)])
    assert told(cut) == told(uncut)
    assert set(told(cut)["states"].values()) == {"done"}  # type: ignore[attr-defined]
    for name in ("pair", "headline"):
        assert (cut.folder / f"{name}.json").read_text() == (uncut.folder / f"{name}.json").read_text()
    assert machine.ran.count("tests") <= 2


def test_what_has_no_room_is_passed_over_and_what_was_cut_off_waits_for_more(tmp_path: Path) -> None:
    work = Work(tmp_path)
    machine = all_pieces(work, [90.0])  # 30 s of tests leave too little for `step`
    assert machine.ran[:2] == ["tests", "pair"]
    assert "step" not in machine.ran
    machine = all_pieces(work, [105.0, 110.0, 150.0])
    assert machine.ran[0] == "step"
    assert machine.ran.count("step") == 2  # not in the second piece, which is hardly longer
    assert work.state(PARTS[1])["state"] == "done"


def test_what_fails_twice_is_left_and_what_needs_a_folder_waits_for_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work, ran = Work(tmp_path), list[str]()
    every = [
        Part("broken", ("x",), 1),
        Part("lacks", ("y",), 1, needs=str(tmp_path / "clone")),
        Part("good", ("z",), 1),
    ]

    def run(command: Sequence[str], log: Path, seconds: float) -> int:
        ran.append(log.stem)
        return int(log.stem == "broken")

    for _ in range(4):
        piece(every, work, 60, lambda: None, run=run)
    assert ran == ["broken", "good", "broken"]
    said = capsys.readouterr().out
    assert "broken: passed over, it failed 2 times" in said
    assert f"lacks: passed over, {tmp_path / 'clone'} is not there" in said


def test_a_command_is_ended_when_its_time_is_up(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    script = "import signal, time; print('begun', flush=True); time.sleep(60)"
    assert gpu.launch(["-c", script], log, 1.0) == 124
    assert log.read_text() == "begun\n"
    assert gpu.launch(["-c", "raise SystemExit(3)"], log, 30.0) == 3


# Files that travel


def test_a_command_finds_scl_where_it_is_not_installed(tmp_path: Path) -> None:
    script, log = tmp_path / "script.py", tmp_path / "log.txt"
    script.write_text("from importlib.util import find_spec\nprint(find_spec('scl').origin)\n")
    assert gpu.launch(["-S", str(script)], log, 30.0) == 0  # -S: without the installed packages
    assert log.read_text().strip() == str(ROOT / "scl" / "__init__.py")


def test_packages_that_are_missing_are_named_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def version(name: str) -> str:
        if name in ("scipy", "scikit-learn", "plotly"):  # of these, Plotly is not needed
            raise PackageNotFoundError(name)
        return "1"

    assert gpu.lacking() == []
    monkeypatch.setattr(gpu, "version", version)
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match="2"):
        gpu.main()
    assert "lacks scikit-learn, scipy; install them" in capsys.readouterr().err
    assert not (tmp_path / "work").exists()


@pytest.mark.slow
def test_all_tests_for_a_gpu_are_found_without_ray_optuna_and_plotly() -> None:
    hidden = "import sys; sys.modules.update(dict.fromkeys(('ray', 'optuna', 'plotly')))"
    code = f"{hidden}; import pytest; raise SystemExit(pytest.main(['-m', 'gpu', '--collect-only', '-p', 'no:xdist']))"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    mark = "pytest.mark." + "gpu"  # in two pieces, so that it is not in this file
    marked = {p.relative_to(ROOT).as_posix() for p in (ROOT / "tests").rglob("test_*.py") if mark in p.read_text()}
    assert {line.partition(":")[0] for line in found.stdout.splitlines() if line.startswith("tests/")} == marked
    assert found.returncode == 0


def test_files_come_back_whole_teachers_apart_and_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packs, "LIMIT", 30_000)
    work = tmp_path / "work"
    kept = {
        "headline/headline/trials.parquet": 40_000,
        "headline/headline/checkpoints/ab/state.json": 10,
        "parts/step.json": 5,
        "headline/teachers/0123456789abcdef/model.safetensors": 70_000,
        "headline/teachers/fedcba9876543210/model.safetensors": 20_000,
    }
    left = ("headline/headline/checkpoints/ab/epoch-3/x", "headline/headline/copies/x", "headline/cache/x",
            "headline/headline/checkpoints/ab/student.safetensors", "headline/headline/report.html")  # fmt: skip
    for name, size in {**kept, **dict.fromkeys(left, 9)}.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_bytes(random.Random(name).randbytes(size))
    first, second, third = (tmp_path / name for name in "abc")
    for out in (first, second, third):
        out.mkdir()
    packs.pack(work, first, most=4)  # two for the results, so one of the teachers waits
    packs.pack(work, second, most=5)
    packs.pack(work, third, most=5)
    for out, teachers in ((first, 1), (second, 1), (third, 0)):
        assert all(file.stat().st_size <= 30_000 for file in out.iterdir())
        assert len({file.name.partition(".")[0] for file in out.glob("teacher-*")}) == teachers
    elsewhere = tmp_path / "elsewhere"
    for out in (first, second):
        packs.unpack(out, elsewhere)
    there = {p.relative_to(elsewhere).as_posix(): p for p in elsewhere.rglob("*") if p.is_file()}
    assert set(there) == set(kept) | {packs.DELIVERED, packs.PIECE}
    assert all(there[name].read_bytes() == (work / name).read_bytes() for name in kept)
    (tmp_path / "d").mkdir()
    packs.pack(elsewhere, tmp_path / "d", most=5)
    assert not list((tmp_path / "d").glob("teacher-*"))  # they are home already
    with pytest.raises(ValueError, match="the results need 2 files"):
        packs.pack(work, first, most=1)


Files = dict[str, bytes]


def packed(work: Path, out: Path, **contents: str) -> Files:
    """The files of a piece of `work`, after these files were written there."""
    work.mkdir(exist_ok=True)
    out.mkdir(exist_ok=True)
    for name, content in contents.items():
        (work / name).write_text(content)
    packs.pack(work, out, most=5)
    return {file.name: file.read_bytes() for file in sorted(out.iterdir())}


def flipped(files: Files, place: int) -> Files:
    name, *_ = sorted(files)
    content = bytearray(files[name])
    content[place] ^= 1
    return {**files, name: bytes(content)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda one, two: {}, "has no file of a piece"),
        (lambda one, two: dict(sorted(one.items())[:-1]), "bring all files of one piece"),
        (lambda one, two: dict(sorted(one.items())[1:]), "bring all files of one piece"),
        (lambda one, two: {**one, **two}, "and no others"),
        (lambda one, two: dict([*sorted(one.items())[:1], *sorted(two.items())[1:]]), "and no others"),
        (lambda one, two: flipped(one, 600), "do not have the hash in their names; bring them again"),
        (lambda one, two: {name: content[:-100] for name, content in one.items()}, "bring them again"),
        (
            lambda one, two: dict(zip(sorted(one), [one[name] for name in sorted(one)][::-1], strict=True)),
            "bring them again",
        ),
        (lambda one, two: dict.fromkeys(one, b""), "bring them again"),
    ],
)
def test_files_of_no_whole_piece_are_refused(
    change: Callable[[Files, Files], Files], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "LIMIT", 6_000)
    one = packed(tmp_path / "work", tmp_path / "one", a="z" * 6000)
    two = packed(tmp_path / "work", tmp_path / "two", a="y" * 6000)
    assert [len(one), len(two)] == [2, 2]
    (tmp_path / "in").mkdir()
    for name, content in change(one, two).items():
        (tmp_path / "in" / name).write_bytes(content)
    with pytest.raises(ValueError, match=words):
        packs.unpack(tmp_path / "in", tmp_path / "home")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("order", [(1, 2), (2, 1), (1, 2, 1), (2, 2, 1)])
def test_pieces_in_any_order_give_the_last_results(
    order: tuple[int, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (1, 2):
        packed(tmp_path / "work", tmp_path / str(number), figure=str(number))
    for number in order:
        packs.unpack(tmp_path / str(number), tmp_path / "home")
    assert (tmp_path / "home" / "figure").read_text() == "2"
    assert ("older than those in" in capsys.readouterr().out) == (order != (1, 2))


def test_results_of_another_run_are_refused_and_a_folder_is_used_again(tmp_path: Path) -> None:
    packed(tmp_path / "work", tmp_path / "one", figure="1")
    packed(tmp_path / "other", tmp_path / "two", figure="2")
    packs.unpack(tmp_path / "one", tmp_path / "home")
    with pytest.raises(ValueError, match="of another run than"):
        packs.unpack(tmp_path / "two", tmp_path / "home")
    assert len(packed(tmp_path / "work", tmp_path / "one", figure="3")) == 1
    packs.unpack(tmp_path / "one", tmp_path / "home")
    assert (tmp_path / "home" / "figure").read_text() == "3"


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside"])
def test_no_file_is_written_outside(name: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(name), io.BytesIO(b""))
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()[:12]
    (tmp_path / "in" / f"results.{digest}.tar.00-of-01").write_bytes(buffer.getvalue())
    if name.startswith("/"):  # tarfile takes the slash away
        packs.unpack(tmp_path / "in", tmp_path / "work")
        assert (tmp_path / "work" / "outside").exists()
    else:
        with pytest.raises(ValueError, match="outside of"):
            packs.unpack(tmp_path / "in", tmp_path / "work")
    assert not (tmp_path / "outside").exists()


# Kernels


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [
        ("sm90_xmma_fprop_implicit_gemm_bf16bf16_bf16f32_f32_nhwckrsc_nhwc_tilesize128x128x64", "convolutions"),
        ("cutlass__5x_cudnn::Kernel<cutlass_tensorop_bf16_s16816dgrad_optimized_bf16_128x64_32x5>", "convolutions"),
        ("void cudnn::ops::nchwToNhwcKernel<float, float, float, false, true>", "convolutions"),
        ("void at::native::(anonymous namespace)::conv_depthwise2d_forward_kernel<3, float, int>", "convolutions"),
        ("void at::native::batch_norm_collect_statistics_channels_last_kernel<at::native::Var>", "batch norm"),
        ("void cudnn::bn_fw_tr_1C11_kernel_NCHW<float, float, int, 512, true, 1, true>", "batch norm"),
        ("cudnn::batchnorm_fwtr_nhwc_semiPersist", "batch norm"),
        ("void at::native::(anonymous namespace)::max_pool_forward_nhwc<c10::BFloat16, int>", "pooling"),
        ("void at::native::(anonymous namespace)::max_pool_backward_nhwc<float, float>", "pooling"),
        ("nvjet_hsh_128x64_64x8_1x2_h_bz_NNT", "products"),
        ("ampere_sgemm_32x32_sliced1x4_tn", "products"),
        ("void cublasLt::splitKreduce_kernel<32, 16, int, float>", "products"),
        ("void at::native::elementwise_kernel<128, 4, at::native::direct_copy_kernel_cuda>", "copies and casts"),
        ("Memcpy DtoD (Device -> Device)", "copies and casts"),
        ("Memset (Device)", "copies and casts"),
        ("void at::native::reduce_kernel<512, 1, at::native::ReduceOp<float>>", "reductions"),
        ("void (anonymous namespace)::cunn_SoftMaxForward<4, float, float, float>", "reductions"),
        ("void at::native::(anonymous namespace)::multi_tensor_apply_kernel<at::native::FusedSgdMath>", "optimizer"),
        ("void at::native::vectorized_elementwise_kernel<4, at::native::CUDAFunctor_add<float>>", "elementwise"),
        ("triton_poi_fused_relu_0", "elementwise"),
        ("a_kernel_of_the_future", "other"),
    ],
)
def test_kernels_are_known_by_their_names(kernel: str, kind: str) -> None:
    assert kind_of(kernel) == kind
    assert kind == "other" or kind in KINDS


class Cut:
    """Runs commands as `gpu.launch` does, and ends each study with a signal, as a queue does at the end of a slot, when
    it has written a checkpoint of this kind.

    at: by the name of the part; a part is cut once.
    """

    def __init__(self, at: dict[str, str]) -> None:
        self.at, self.codes = at, list[tuple[str, int]]()

    def __call__(self, command: Sequence[str], log: Path, seconds: float) -> int:
        out, checkpoint = Path(command[command.index("--out") + 1]), self.at.pop(log.stem, None)
        with log.open("ab") as output:
            study = subprocess.Popen([sys.executable, *command], cwd=ROOT, stdout=output, stderr=output)
        while checkpoint and study.poll() is None:
            if any(out.glob(f"*/checkpoints/*/{checkpoint}")):
                study.send_signal(signal.SIGTERM)
                break
            time.sleep(0.02)
        self.codes.append((log.stem, study.wait(seconds)))
        return self.codes[-1][1]


@pytest.mark.slow
def test_rehearsed_on_a_cpu_in_pieces_and_at_once(tmp_path: Path) -> None:
    """Every part runs. Studies that are cut off while they train, and go on from their own folder or elsewhere from the
    files that came back, have the numbers of an uncut run."""
    uncut, folder, elsewhere, out = (tmp_path / name for name in ("uncut", "folder", "elsewhere", "out"))
    command = ("--rehearse", "--minutes", "14", "--work", str(uncut), "--out", str(out))
    said = subprocess.run(
        [sys.executable, "benchmarks/gpu.py", *command], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert "to do: repdistiller;" in said  # a clone of it is not here

    run = Cut({"pair": "epoch-00001.*", "headline-100-more": "epoch-00000.*"})

    def one(folder: Path, *names: str) -> None:
        every = [part for part in gpu.parts(folder, "", "", rehearse=True) if part.name in names]
        piece(every, Work(folder), 600, lambda: None, run=run)

    one(folder, "pair")
    one(folder, "pair", "headline-100-more")
    (tmp_path / "files").mkdir()
    packs.pack(folder, tmp_path / "files", gpu.MOST_FILES)
    packs.unpack(tmp_path / "files", elsewhere)
    one(elsewhere, "pair", "headline-100-more")
    assert run.codes == [("pair", 130), ("pair", 0), ("headline-100-more", 130), ("headline-100-more", 0)]
    columns = ["arm", "seed", "trial_id", "test_acc", "test_loss"]
    for name, store in (("pair", "benchmark-vgg13-vgg8"), ("headline-100", "headline")):
        ours, theirs = (
            load(str(work / name / store)).trials[columns].sort_values(["arm", "seed"], ignore_index=True)
            for work in (elsewhere, uncut)
        )
        assert len(ours) >= 3
        pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
