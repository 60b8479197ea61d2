"""A network of the user's, from a class or a function: built, and tried on a few images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from scl.errors import UserError, first_line
from scl.models.maps import logits_of
from scl.models.mode import eval_mode
from scl.models.settings import settings_restored
from scl.models.tapped import DEPTH, TappedModel, examples, tap
from scl.study.network import arguments, model_name

# Types of parameters and buffers that the file of a student holds.
TYPES = (
    torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool,
)  # fmt: skip
CLOSE = 1e-3  # relative to the largest logit: an image alone may be computed in another order than in a batch


def build(
    model: Callable[..., Any], num_classes: int, image_shape: tuple[int, int, int], layers: Sequence[str] = ()
) -> TappedModel:
    """A fresh network with its guided layers, initialised from the global random streams.

    Args:
        image_shape: (C, H, W). layers: module paths of the guided layers; if empty, one is found for each stage.

    Raises:
        UserError: it cannot be built or tried, its output is not logits (B, K) of each image by itself, or it keeps
            what the file of a student cannot hold.
    """
    name = model_name(model)
    given = arguments(model, num_classes, image_shape)
    call = f"{name}({', '.join(f'{k}={v}' for k, v in given.items())})"
    seed = torch.initial_seed()
    with settings_restored() as changed:
        try:
            net = model(**given)
        except UserError:
            raise
        except (Exception, SystemExit) as error:
            raise UserError(f"network {call} raised {type(error).__name__}: {first_line(error)[:300]}") from error
        if not isinstance(net, nn.Module):
            raise UserError(f"network {call} returned {type(net).__name__}, not a torch.nn.Module")
        _check_parts(name, net)
        head = _try(name, net, num_classes, image_shape)
    if changed:
        raise UserError(
            f"network {name} changes {' and '.join(changed)}, which other arms share; restore it before it returns"
        )
    if torch.initial_seed() != seed:
        raise UserError(
            f"network {name} calls torch.manual_seed, so each seed of a study would train the same network; leave it "
            "out: every network is built from the seed of its trial"
        )
    tapped = TappedModel(net, image_shape, getattr(net, "output_fmt", "NCHW") == "NHWC", own=True)
    if head is not None:
        tapped.embed_at(head)
    tap(tapped, layers, depths=(DEPTH, DEPTH + 1))
    return tapped


def _check_parts(name: str, net: nn.Module) -> None:
    """Raises UserError for parameters and buffers that cannot be trained, stored or loaded."""
    parameters, buffers = dict(net.named_parameters()), dict(net.named_buffers())
    if not any(p.requires_grad for p in parameters.values()):
        raise UserError(f"network {name} has no parameters that train; create them in __init__")
    for part, tensor in {**parameters, **buffers}.items():
        if isinstance(tensor, UninitializedBuffer | UninitializedParameter):
            raise UserError(
                f"network {name}: {part} has no shape before the first batch (a lazy module); state its size, for "
                "example nn.Linear(64, 10) in place of nn.LazyLinear(10)"
            )
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.dtype not in TYPES or tensor.is_meta:
            kinds = ", ".join(str(t).removeprefix("torch.") for t in TYPES)
            raise UserError(f"network {name}: {part} is {tensor.dtype}, {tensor.layout}; it must be dense, of {kinds}")
    for module in net.modules():
        if type(module).get_extra_state is not nn.Module.get_extra_state:
            raise UserError(
                f"network {name}: {type(module).__name__} has a state of its own (get_extra_state), which the file of "
                "a student does not hold; keep it in buffers (self.register_buffer)"
            )


@torch.no_grad()
def _try(name: str, net: nn.Module, classes: int, image_shape: tuple[int, int, int]) -> nn.Module | None:
    """Run the network on three images and on the first of them; returns the linear layer that gives the logits."""
    images, outputs = examples(image_shape, 3), dict[nn.Module, Tensor]()

    def record(module: nn.Module, inputs: Any, output: Any) -> None:
        outputs.pop(module, None)
        outputs[module] = output

    before = {part: (tensor, tensor.clone()) for part, tensor in _registered(net)}
    hooks = [m.register_forward_hook(record) for m in net.modules() if isinstance(m, nn.Linear)]
    try:
        with eval_mode(net):
            logits = _logits(name, net, images, classes)
            for hook in hooks:
                hook.remove()
            again, alone = _logits(name, net, images, classes), _logits(name, net, images[:1], classes)
    finally:
        for hook in hooks:
            hook.remove()
    _check_unchanged(name, before, net)
    if not torch.isfinite(logits).all():
        raise UserError(f"network {name}: its logits of normal numbers are not finite before it has trained")
    if not torch.equal(logits, again):
        raise UserError(
            f"network {name} gives other logits for the same images in evaluation mode; draw random numbers only if "
            "self.training, as in F.dropout(x, training=self.training), and keep no state between forwards"
        )
    if not torch.allclose(alone, logits[:1], rtol=0, atol=CLOSE * float(logits.abs().max())):
        raise UserError(
            f"network {name}: the logits of an image depend on the other images of its batch in evaluation mode; use "
            "no statistics of the batch there (a batch norm needs track_running_stats), and no view that mixes images"
        )
    return next((m for m, out in reversed(outputs.items()) if torch.equal(out, logits)), None)


def _logits(name: str, net: nn.Module, images: Tensor, classes: int) -> Tensor:
    try:
        output = net(images)
    except (Exception, SystemExit) as error:
        raise UserError(
            f"network {name} cannot process images {tuple(images.shape)}: {type(error).__name__}: "
            f"{first_line(error)[:300]}"
        ) from error
    logits, wanted = logits_of(output), (len(images), classes)
    if logits is None:
        kind = type(output).__name__
        raise UserError(
            f"network {name} returns {kind}; it must return logits (B, K) as a tensor, or an object or a dict with "
            "`logits`"
        )
    if tuple(logits.shape) != wanted or not logits.is_floating_point():
        raise UserError(
            f"network {name} returns {tuple(logits.shape)}, {logits.dtype}, for images {tuple(images.shape)}; wanted "
            f"logits (B, K) = {wanted} of floating point"
        )
    return logits


def _check_unchanged(name: str, before: dict[str, tuple[Tensor, Tensor]], net: nn.Module) -> None:
    """Raises UserError if a forward in evaluation mode has made, replaced or changed a parameter or a buffer."""
    now = dict(_registered(net))
    for part in sorted(now.keys() | before.keys()):
        if part not in now or part not in before or now[part] is not before[part][0]:
            raise UserError(
                f"network {name} makes, removes or replaces {part} in its forward, which would not be trained, or not "
                "resumed; create parameters, buffers and modules in __init__ with their final shape"
            )
        if not torch.equal(now[part].nan_to_num(), before[part][1].nan_to_num()):
            raise UserError(f"network {name} changes {part} in evaluation mode; change it only if self.training")


def _registered(net: nn.Module) -> list[tuple[str, Tensor]]:
    return [*net.named_parameters(), *net.named_buffers()]
