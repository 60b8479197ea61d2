"""Networks that scl has not built: of torchvision, of timm, or of the user. Their guided maps are outputs of modules.

Layers are found by stage, or named by module path. Self-taught neurons are the last channels of such an output:
transfer losses do not see them, and the rest of the network does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from scl.errors import UserError, unknown
from scl.models.layout import class_activation_maps, first_channels, mean_over_locations
from scl.models.maps import Grid, logits_of, map_of, tensor_in, without_last_channels
from scl.models.mode import eval_mode
from scl.models.staged import Features, SelfTaught, Wanted

MOST_GUIDED = 4  # the number of guided layers that are found by stage; more can be named
DEPTH = 2  # names in the path of a module of the trunk, as in `layer1` and `features.3`
KIND = "a map (B, C, H, W) or (B, H, W, C), or tokens (B, T, D) of a grid with the image's proportions"


class TappedModel(nn.Module):
    """A network whose guided maps are the outputs of the modules at `layers`.

    Tokens (B, T, D) become the map that they came from, without class and register tokens; maps (B, H, W, C), as in
    Swin, become (B, C, H, W). `tap` has no effect: the path of a layer says where its map is taken.

    Args:
        net: the network. It returns logits (B, K), or an object or a mapping with `logits`.
        image_shape: (C, H, W) of its images.
        channels_last: its maps are (B, H, W, C), where their shape does not tell.
        own: of the user: its images are contiguous, because code of users may need that. Otherwise one-channel images
            are repeated to three channels.
    """

    scale: Tensor
    shift: Tensor

    def __init__(
        self, net: nn.Module, image_shape: tuple[int, int, int], channels_last: bool = False, own: bool = False
    ) -> None:
        super().__init__()
        self.net, self.image_shape, self.own = net, image_shape, own
        prefix = getattr(net, "num_prefix_tokens", None)
        self.grid = Grid(image_shape[1:], prefix if isinstance(prefix, int) else None, channels_last)
        self.layers: tuple[str, ...] = ()
        self.head = ""  # the module path of the linear layer that gives the logits, if there is one
        self.averaged = ""  # the module path whose map's mean that layer receives, if there is one
        # Channels of each guided layer that losses see, or None for all; and the self-taught ones among its last.
        self.guided_channels: tuple[int, ...] | None = None
        self.self_taught_channels: tuple[int, ...] = ()
        self.embedding_channels: int | None = None  # that losses see, if the embedding is the last guided layer, pooled
        # At test time: set the self-taught channels to zero, to measure their contribution.
        self.muted = False
        self.normalises = False  # see `renormalise`
        self._tapping = False
        self._outputs: dict[str, Tensor] = {}
        self._embedding: Tensor | None = None
        self._wants_cams = False
        self._averaged: Tensor | None = None
        self._batch = 0
        for module in [] if own else net.modules():
            if hasattr(module, "inplace"):
                module.inplace = False  # type: ignore[assignment]

    # --- where features are taken -----------------------------------------------------------------------------

    def embed_at(self, head: nn.Module) -> None:
        """Take the embedding at the input of this module; without one, it is the last guided map, pooled."""
        self.head = next(path for path, module in self.net.named_modules() if module is head)
        head.register_forward_pre_hook(self._store_embedding)

    def tap_at(self, layers: Sequence[str]) -> None:
        """Take the guided maps at these module paths.

        Raises:
            UserError: a path does not exist.
        """
        paths = [path for path, _ in self.net.named_modules() if path]
        wrong = [path for path in layers if path not in paths]
        if wrong:
            top = [path for path in paths if path.count(".") < DEPTH]
            raise UserError(f"guided layer: {unknown('module path', wrong[0], top)}")
        self.layers = tuple(layers)
        for i, path in enumerate(self.layers):
            self.net.get_submodule(path).register_forward_hook(partial(self._store_output, i))

    def teach(self, taught: SelfTaught) -> None:
        """Take self-taught neurons from the last channels of the guided layers.

        Raises:
            UserError: the counts do not match the layers, or take all channels of one.
        """
        if not self.layers:
            raise UserError("self_taught: this network has no guided layer whose channels could be taken; name layers")
        whole = self._tried()
        guided, extra = taught.channels([m.shape[1] for m in whole.maps])
        # Whether the embedding is the last guided layer, pooled: then it lacks the same channels if this is muted.
        self.self_taught_channels, self.muted = (*(0 for _ in extra[1:]), *extra[-1:]), True
        without, self.muted = self._tried(), False
        self.self_taught_channels = tuple(extra)
        if taught.guided == "all":
            return
        self.guided_channels = tuple(guided)
        if extra and extra[-1] and whole.embedding.shape[1] == guided[-1] + extra[-1]:
            left = torch.cat([whole.embedding[:, : guided[-1]], torch.zeros(2, extra[-1])], 1)
            if _alike(without.embedding, left):
                self.embedding_channels = guided[-1]

    def find_averaged(self) -> None:
        """Find the map, of any module, whose mean is the input of the last linear layer, which gives the logits: then
        there are class activation maps.

        Raises:
            UserError: as `features`.
        """
        means: dict[str, tuple[int, Tensor]] = {}  # module path → locations of its map, and their mean
        runs: Counter[str] = Counter()

        def record(path: str, module: nn.Module, inputs: Any, output: Any) -> None:
            runs[path] += 1
            found = map_of(module, output, self.grid, self._batch)
            if found is not None:
                means[path] = found.shape[2] * found.shape[3], mean_over_locations(found)

        hooks = [m.register_forward_hook(partial(record, path)) for path, m in self.net.named_modules() if path]
        try:
            tried = self._tried()
        finally:
            for hook in hooks:
                hook.remove()
        head = self.net.get_submodule(self.head) if self.head else None
        if not isinstance(head, nn.Linear) or not _alike(head(tried.embedding).detach(), tried.logits):
            return
        averaged = [path for path, (_, mean) in means.items() if runs[path] == 1 and _alike(mean, tried.embedding)]
        if averaged:
            self.averaged = max(averaged, key=lambda path: means[path][0])
            self.net.get_submodule(self.averaged).register_forward_hook(self._store_averaged)

    def renormalise(self, scale: Tensor, shift: Tensor) -> None:
        """Multiply the images by `scale` (C,) and add `shift` (C,) in front of the network, after their normalisation
        by the data: it then sees the normalisation that its weights were trained with. Both are stored with the
        weights."""
        self.register_buffer("scale", scale.detach().clone().view(-1, 1, 1))
        self.register_buffer("shift", shift.detach().clone().view(-1, 1, 1))
        self.normalises = True

    # --- forward ----------------------------------------------------------------------------------------------

    def features(self, x: Tensor, tap: str = "relu", wanted: Wanted | None = None) -> Features:
        """All features of images (B, C, H, W); the network always runs to its end, whatever is wanted.

        Raises:
            UserError: the forward pass does not run a guided layer, runs it twice, or gets no map from it.
        """
        self._outputs, self._embedding, self._batch, self._tapping = {}, None, len(x), True
        self._wants_cams = wanted is None or wanted.cams
        try:
            logits = self.forward(x)
        finally:
            outputs, embedding, averaged = self._outputs, self._embedding, self._averaged
            self._outputs, self._embedding, self._averaged, self._tapping = {}, None, None, False
        missing = [path for path in self.layers if path not in outputs]
        if missing:
            raise UserError(f"guided layer {missing[0]!r}: no forward pass runs this module; name its parent")
        maps = [outputs[path] for path in self.layers]
        if embedding is not None:
            embedding = embedding.flatten(1)[:, : self.embedding_channels]
        else:
            embedding = mean_over_locations(maps[-1])[:, : self.embedding_channels] if maps else logits
        cams = None
        if averaged is not None:
            cams = class_activation_maps(averaged, self.net.get_submodule(self.head))  # type: ignore[arg-type]
        if self.guided_channels is not None:
            maps = [first_channels(m, count) for m, count in zip(maps, self.guided_channels, strict=True)]
        return Features(maps, embedding, logits, cams)

    def forward_features(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        features = self.features(x)
        return features.maps, features.logits

    def forward(self, x: Tensor) -> Tensor:
        if self.own:
            x = x.clone(memory_format=torch.contiguous_format)  # `contiguous` keeps the strides of one channel
        elif x.shape[1] == 1:
            x = x.expand(-1, 3, -1, -1)
        if self.normalises:
            x = x * self.scale + self.shift
        logits = logits_of(self.net(x))
        if logits is None:
            raise UserError(
                f"{type(self.net).__name__} must return logits (B, K) as a tensor, or an object or a dict with `logits`"
            )
        return logits

    def _store_embedding(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        if self._tapping:
            self._embedding = inputs[0]

    def _store_averaged(self, module: nn.Module, inputs: Any, output: Any) -> None:
        if self._tapping and self._wants_cams:
            found = map_of(module, output, self.grid, self._batch)
            self._averaged = None if found is None else found.clone()

    def _store_output(self, i: int, module: nn.Module, inputs: Any, output: Any) -> Any:
        path = self.layers[i]
        if self._tapping:
            if path in self._outputs:
                raise UserError(
                    f"guided layer {path!r} runs more than once in a forward pass, so it has several maps; name its "
                    "parent, or another module"
                )
            found = map_of(module, output, self.grid, self._batch)
            if found is None:
                raise UserError(f"guided layer {path!r} gives no feature map: {_got(output)}, wanted {KIND}")
            self._outputs[path] = found.clone()  # a residual network adds to its last map in place
        if self.muted and self.self_taught_channels[i]:
            return without_last_channels(module, output, self.self_taught_channels[i], self.grid)
        return None

    def _tried(self) -> Features:
        with torch.no_grad(), eval_mode(self):
            return self.features(examples(self.image_shape, 2))


def runs_own_code(model: nn.Module) -> bool:
    """True for a network of the user's, and for one that feeds it."""
    return any(isinstance(module, TappedModel) and module.own for module in model.modules())


def examples(image_shape: tuple[int, int, int], count: int) -> Tensor:
    """The same normal numbers always: images (count, C, H, W) to try a network with."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, *image_shape, generator=generator, dtype=torch.float32)


def tap(model: TappedModel, layers: Sequence[str], depths: Sequence[int] = (DEPTH,)) -> None:
    """Give a network its guided layers: those named, or one found for each stage.

    depths: names in the path of a module that may be found; the next one counts if fewer than two layers are found.

    Raises:
        UserError: a named layer does not exist or gives no map.
    """
    found: list[str] = []
    for depth in depths:
        if len(found) < 2:
            found = _layers_by_stage(model, depth) or found
    model.tap_at(layers or found)
    model.find_averaged()  # raises for a layer that does not run


def _layers_by_stage(model: TappedModel, depth: int) -> list[str]:
    """For each resolution above 1×1, the last module of the trunk that outputs a map, pooling excluded; the deepest
    four. A module that runs more than once is none. The sizes of maps that are met tell later how many tokens are an
    image's."""
    met: dict[str, tuple[int, int]] = {}  # module path → resolution of its map, in the order in which modules end
    pooled: list[Tensor] = []  # held, so that no other tensor is given their memory
    runs: Counter[str] = Counter()
    seen: dict[tuple[int, int], None] = {}
    images = examples(model.image_shape, 2)
    names = {id(module): path for path, module in model.net.named_modules() if path}

    def record(module: nn.Module, inputs: Any, output: Any) -> None:
        path = names[id(module)]
        runs[path] += 1
        found = map_of(module, output, replace(model.grid, seen=tuple(seen)), len(images))
        if found is None:
            return
        size = (found.shape[2], found.shape[3])
        x = tensor_in(output)
        assert x is not None
        if x.ndim == 4:
            seen.setdefault(size)
        is_image = found.shape[1:] == images.shape[1:]  # a module that normalises it, or nn.Identity
        if path.count(".") >= depth or min(size) < 2 or is_image:
            return
        if "Pool" in type(module).__name__:
            pooled.append(x)
        elif all(x.data_ptr() != p.data_ptr() for p in pooled):  # not a container that ends in pooling
            met[path] = size

    hooks = [module.register_forward_hook(record) for _, module in model.net.named_modules() if id(module) in names]
    try:
        with torch.no_grad(), eval_mode(model):
            model.forward(images)
    finally:
        for hook in hooks:
            hook.remove()
    model.grid = replace(model.grid, seen=tuple(seen))
    last = {size: path for path, size in met.items() if runs[path] == 1}
    return [path for path in met if path in last.values()][-MOST_GUIDED:]


def _alike(x: Tensor, y: Tensor) -> bool:
    return x.shape == y.shape and torch.allclose(x, y, rtol=1e-4, atol=1e-5)


def _got(output: Any) -> str:
    x = tensor_in(output)
    return f"it returns {type(output).__name__}" if x is None else f"it returns {tuple(x.shape)}"
