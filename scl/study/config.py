"""The configuration of a trial: its network, objective and recipe, as a frozen dataclass that refuses bad values.

Nothing heavy is imported here, so that `--help` and a mistyped flag are answered at once. So the names of models stand
in `fields`, and those of losses in `loss_table`, apart from the code; tests hold them together.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from scl.errors import UserError, names_checked, shown
from scl.study.augment import augmentation
from scl.study.contradictions import problems_of
from scl.study.fields import LARGEST, MODELS, SHARED_IN_COHORT, neurons_problem, of_library
from scl.study.network import Model, is_own, model_name, model_problem, network_identity
from scl.study.term import Term, as_real, as_whole, checked_terms, loss_row


@names_checked
@dataclass(frozen=True)
class Config:
    """One resolved configuration: everything that determines numbers, except the seed, the data and the teacher.

    Students and teachers are both described by it: the network, the objective and the recipe.

    Attributes:
        model: the network: one of scl's (`plain3` to `plain17`, `vgg8` to `vgg19`, `resnet8` to `resnet110`,
            `resnet8x4`, `resnet32x4`, `wrn_16_1` to `wrn_40_2`), `torchvision:NAME`, `timm:NAME`; or a network of your
            own: an nn.Module class, or a function that returns a module. It is built as `MyNet(num_classes=K)`, with
            `in_channels` and `image_size` if it names them, and returns logits (B, K).
        width: factor on the channels of each stage of scl's networks; above 0 and at most 64.
        self_taught: number of self-taught neurons k: one number for all guided layers, or a tuple with one for each.
        self_taught_at: `layers` (every guided layer), `penultimate` (the deepest) or `branch` (a narrow network beside
            the student that only the classifier reads).
        self_taught_from: `added` to a layer's C channels (scl's networks), or `taken` from them, so that C − k are
            guided (every network).
        projector: channels to which a projector maps the deepest guided map of one of scl's networks, for the
            classifier: 1×1, 3×3 and 1×1 convolutions, each with batch norm and ReLU, with half these channels between
            them. Its output is then the deepest guided map. 0: no projector. The loss `simkd` needs one with the
            channels of the teacher's deepest map, and a plan fills that number in.
        expansion: channels to which a linear transform behind the deepest guided map of one of scl's networks expands
            that map while it trains: 1×1 convolutions to these channels and back, each with batch norm, and a residual
            connection around both. The expanded map is then the deepest guided map. At the end of training the
            classifier takes the transform up, so the student has neither more parameters nor more multiply-adds. 0: no
            transform, unless the loss `norm` is there, which has one with as many channels as it compares. Without
            that loss it is the control.
        pretrained: start from the weights that torchvision or timm publishes.
        layers: module paths of the guided layers of an own, torchvision or timm network. Empty: one for each stage.
        initial_weights: a file of weights to start from; a last layer for other classes starts fresh. Students only.
        normalisation: of the images of a torchvision or timm student: by the mean and standard deviation of the `data`
            or of the `published` weights. `auto`: the latter if `pretrained`.
        dropout: dropout rate of a torchvision or timm network that has one. None: the library's default.
        drop_path: rate of stochastic depth, likewise.
        ce: weight of the cross-entropy, 0 or more. The objective is ce × cross-entropy + Σ weight × transfer loss.
        losses: name → the weight of that transfer loss, or a `Term`.
        label_smoothing: share of the target that is spread evenly over all classes, 0 to 1.
        class_weights: `none`, or `balanced`: the cross-entropy of a class is weighted by the inverse of its share of
            the training images; the mean weight is 1.
        guided: transfer losses see the `first` C channels of a layer, or `all` C + k of them (a control).
        tap: where the guided map is taken: after the `relu`, before it (`bn`), or at the output of a stage's last
            `block`. The latter differs only in wrn networks, which do not normalise there; common public code uses it.
        connector: a 1×1 convolution with batch normalisation on the student: for losses that need equal channels where
            they differ (`auto`), or for all losses that need equal channels (`always`).
        teacher_layers: module paths of the guided layers of a torchvision or timm teacher. Empty: one for each stage.
        taught_by: the teachers that guide the student together. Empty: the study's teacher. Each is `teacher` (the
            study's), `self` (the student's own network and recipe, trained from the labels alone, whose student is
            born again), `self:K` (a born-again student of generation K, trained by this arm's recipe under that of
            generation K − 1, the first under `self`), one of scl's networks, as in `vgg13` (trained by the teacher's
            recipe), or `ema` (the average of the student's own weights, with the decay `ema`: a mean teacher). A name
            that repeats is another seed. Only losses of logits can have such teachers.
        mean_of: how several teachers in `taught_by` guide: by the mean of their `logits`, or by each of them, with the
            mean of their `losses`.
        pretrain_epochs: epochs at a constant rate before `epochs`, in which only terms of the stage `pretrain` train.
        epochs: number of epochs, and the length of the schedule.
        batch_size: images in a batch, 2 or more.
        optimizer: `sgd`, `adamw`, `adam`, `nadam` or `radam`. adamw decays weights apart from the gradient (Loshchilov
            & Hutter, ICLR 2019); the others add the decay to it.
        lr: peak learning rate. adam and its kin need about a hundredth of sgd's.
        momentum: momentum of sgd, 0 to 1.
        nesterov: Nesterov momentum; of sgd.
        betas: decay of the running means of gradients and of their squares, 0 to below 1; of adam and its kin.
        eps: term in the denominator of adam and its kin.
        weight_decay: factor of the weight decay, 0 or more.
        decay_norms: decay biases and parameters of norms as well.
        clip_norm: largest norm of all gradients together. 0: no clipping.
        accumulate: batches in a step of the optimizer.
        head_lr: factor on the learning rate of the classifier.
        layer_decay: factor on the learning rate for each layer further from the classifier.
        ema: decay of an average of the weights, which is evaluated and kept in place of the student. 0: no average.
        patience: end the trial after this number of epochs without a better validation accuracy, and keep the network
            of its best epoch. 0: train all epochs and keep the last.
        schedule: of the learning rate: `cosine` (to zero), `multistep` (× `lr_decay` at each of `milestones`) or
            `onecycle`.
        milestones: epochs after which `multistep` lowers the rate.
        lr_decay: factor of `multistep`.
        warmup_epochs: epochs over which the rate rises linearly; part of `epochs`.
        augment: how images change before a step, the same for teacher and student: `auto`, `none`, or words of
            `scl.study.augment` joined by `+`, as in `rrc+flip+mixup:0.2`.
        sampling: `shuffled` (each image once an epoch) or `balanced` (each class equally often, in as many steps:
            images of a rare class repeat, those of a frequent class are not all used).
        shared_batches: every seed sees the batches and augmentation of seed 0, so that one forward of the teacher
            serves several seeds. Seeds then differ in initial weights, and in what a step draws: dropout, stochastic
            depth, random numbers of losses.
        precision: of a step: `fp32`, `bf16`, or `auto`: bf16 on a GPU, fp32 on a CPU.
        kernels: of a step: `torch`, or `fused`: batch norm, ReLU and max-pooling of plain and vgg students as one
            operation on a GPU, which needs the package triton.

    Raises:
        UserError: a field does not exist, a value is refused, or values contradict each other. The message names the
            valid ones.

    Example:
        import scl

        config = scl.Config(model="resnet20", epochs=60, lr=0.05, losses={"kd": 0.9}, ce=0.1)
        longer = config.replace(epochs=120)  # a copy with other fields
    """

    # the network
    model: Model = "plain5"
    width: float = 1.0
    self_taught: int | tuple[int, ...] = 0
    self_taught_at: str = "layers"
    self_taught_from: str = "added"
    projector: int = 0
    expansion: int = 0
    pretrained: bool = False
    layers: tuple[str, ...] = ()
    initial_weights: str = ""
    normalisation: str = "auto"
    dropout: float | None = None
    drop_path: float | None = None
    # the objective: ce × cross-entropy + Σ weight × transfer loss
    ce: float = 1.0
    losses: Mapping[str, Term] = field(default_factory=dict)
    label_smoothing: float = 0.0
    class_weights: str = "none"
    guided: str = "first"
    tap: str = "relu"
    connector: str = "auto"
    teacher_layers: tuple[str, ...] = ()
    taught_by: tuple[str, ...] = ()
    mean_of: str = "logits"
    # the recipe
    pretrain_epochs: int = 0
    epochs: int = 30
    batch_size: int = 128
    optimizer: str = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    nesterov: bool = True
    betas: tuple[float, ...] = (0.9, 0.999)
    eps: float = 1e-8
    weight_decay: float = 5e-4
    decay_norms: bool = True
    clip_norm: float = 0.0
    accumulate: int = 1
    head_lr: float = 1.0
    layer_decay: float = 1.0
    ema: float = 0.0
    patience: int = 0
    schedule: str = "cosine"
    milestones: tuple[int, ...] = ()
    lr_decay: float = 0.1
    warmup_epochs: int = 0
    augment: str = "auto"
    sampling: str = "shuffled"
    shared_batches: bool = False
    precision: str = "auto"
    kernels: str = "torch"

    def __post_init__(self) -> None:
        losses, wrong = checked_terms(self.losses)
        object.__setattr__(self, "losses", losses)
        for name in ("milestones", "teacher_layers", "layers", "self_taught", "betas", "taught_by"):
            if isinstance(getattr(self, name), list):
                object.__setattr__(self, name, tuple(getattr(self, name)))
        problems = wrong + self._coerce_scalars()
        if not problems:
            problems = problems_of(self)
        if problems:
            raise UserError("; ".join(problems))

    def _coerce_scalars(self) -> list[str]:
        """Cast numbers to the declared type, because 1, 1.0 and numpy's 1 must give one id; refuse other types."""
        problems = []
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if f.type in ("str", "bool") and type(value) is not {"str": str, "bool": bool}[f.type]:
                problems.append(f"{f.name} must be of type {f.type}, got {shown(value)}")
            elif f.type in ("float", "int"):
                number = as_real(value) if f.type == "float" else as_whole(value)
                if number is None:
                    problems.append(
                        f"{f.name} must be a {'' if f.type == 'float' else 'whole '}number, got {shown(value)}"
                    )
                object.__setattr__(self, f.name, number)
            elif f.type == "float | None" and value is not None:
                object.__setattr__(self, f.name, as_real(value))
                if getattr(self, f.name) is None:
                    problems.append(f"{f.name} must be a number, or None for the network's own, got {shown(value)}")
        betas = [as_real(beta) for beta in self.betas] if isinstance(self.betas, tuple) else []
        if len(betas) != 2 or any(beta is None or not 0 <= beta < 1 for beta in betas):
            problems.append(f"betas must be two numbers from 0 to below 1, as in (0.9, 0.999), got {shown(self.betas)}")
        object.__setattr__(self, "betas", tuple(betas))
        several = isinstance(self.self_taught, tuple)
        counts = [
            as_whole(k) for k in (self.self_taught if isinstance(self.self_taught, tuple) else [self.self_taught])
        ]
        most = LARGEST["self_taught"]
        if not counts or any(k is None or not 0 <= k <= most for k in counts):
            problems.append(
                f"self_taught must be a whole number of 0 to {most}, or one a layer, got {shown(self.self_taught)}"
            )
        object.__setattr__(self, "self_taught", tuple(counts) if several else counts[0])
        epochs = [as_whole(m) for m in self.milestones] if isinstance(self.milestones, tuple) else [None]
        if None in epochs:
            problems.append(f"milestones must be whole numbers, got {shown(self.milestones)}")
        object.__setattr__(self, "milestones", tuple(epochs))
        for name in ("teacher_layers", "layers"):
            paths = getattr(self, name)
            if not isinstance(paths, tuple) or any(type(p) is not str for p in paths):
                problems.append(f"{name} must be a list of module paths, got {shown(paths)}")
        if not isinstance(self.taught_by, tuple) or any(type(name) is not str for name in self.taught_by):
            problems.append(
                f"taught_by must be a list of teachers, as in ('teacher', 'self'), got {shown(self.taught_by)}"
            )
        if type(self.model) is not str and (problem := model_problem(self.model, MODELS)):
            problems.append(problem)
        if isinstance(self.augment, str):
            try:
                object.__setattr__(self, "augment", augmentation(self.augment))
            except ValueError as error:
                problems.append(f"augment: {error}")
        return problems

    def replace(self, **changes: Any) -> Config:
        """A copy with some fields changed.

        Args:
            changes: fields by their names.

        Raises:
            UserError: a field does not exist, a value is refused, or the optimizer changes between sgd and the others
                without a learning rate of its own.

        Example:
            import scl

            longer = scl.Config(epochs=60).replace(epochs=120)
        """
        changed = dataclasses.replace(self, **changes)
        if (changed.optimizer == "sgd") != (self.optimizer == "sgd") and "lr" not in changes:
            raise UserError(other_rate(changed))
        return changed

    @property
    def model_name(self) -> str:
        """The name of the network, for people and columns."""
        return model_name(self.model)

    def batch_seed(self, seed: int) -> int:
        """The seed of the batches and their augmentation, for a trial of this seed."""
        return 0 if self.shared_batches else seed

    def stream(self, seed: int) -> tuple[Any, ...]:
        """What trials must have in common to train side by side from one stream of batches, if their teacher is one."""
        return (self.batch_seed(seed), *(getattr(self, name) for name in SHARED_IN_COHORT))

    @property
    def is_foreign(self) -> bool:
        """True for a network of another library or of the user's: it has no width factor, and its guided layers are
        found by trying it."""
        return is_own(self.model) or of_library(self.model)

    @property
    def hashes(self) -> dict[str, Any]:
        """The fields that enter the id as a hash: of the source of an own network, and of a file of weights.

        Raises:
            UserError: the source cannot be followed, or the file cannot be read.
        """
        if (travelled := vars(self).get("_hashes")) is not None:
            return dict(travelled)
        found: dict[str, Any] = {}
        if not isinstance(self.model, str):
            found["model"] = network_identity(self.model)
        if self.initial_weights:
            found["initial_weights"] = {"sha256": _sha256_of_file(self.initial_weights)}
        return found

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled. A worker of a cluster has neither the file of an own network nor that of weights, so the
        hashes travel along."""
        return {**vars(self), "_hashes": hashes} if (hashes := self.hashes) else dict(vars(self))

    @property
    def total_epochs(self) -> int:
        return self.pretrain_epochs + self.epochs

    @property
    def has_self_taught(self) -> bool:
        return bool(self.self_taught if isinstance(self.self_taught, int) else any(self.self_taught))

    @property
    def reusing(self) -> list[str]:
        """The terms whose student keeps the teacher's classifier."""
        return [name for name, term in self.losses.items() if term.weight > 0 and loss_row(term).reuses]

    @property
    def expanding(self) -> list[str]:
        """The terms that compare the expanded map of a student."""
        return [name for name, term in self.losses.items() if term.weight > 0 and loss_row(term).expands]

    @property
    def neurons_problem(self) -> str:
        """Why this network cannot have these self-taught neurons; "" if it can. `--set` may change them after an arm is
        made, so a study asks when everything is set."""
        if not self.is_foreign or not self.has_self_taught:
            return ""
        return neurons_problem(self.model_name, self.self_taught_at, self.self_taught_from)


def _sha256_of_file(path: str) -> str:
    """Raises UserError if the file cannot be read."""
    place = os.path.expanduser(path)
    try:
        found = os.stat(place)
        return _sha256_of_version(place, found.st_mtime_ns, found.st_size)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"initial_weights {shown(path)} cannot be read: {reason}; give a file of weights (--student-weights FILE)"
        ) from None


@functools.lru_cache(maxsize=64)
def _sha256_of_version(path: str, changed: int, size: int) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def other_rate(config: Config) -> str:
    """The message for a learning rate that was chosen for another kind of optimizer."""
    rate = "0.05" if config.optimizer == "sgd" else "0.001"
    return (
        f"optimizer {config.optimizer!r} has the lr of another optimizer, {config.lr:g}; adam and its kin take about a "
        f"hundredth of the rates of sgd: set lr too, as in lr={rate}"
    )
