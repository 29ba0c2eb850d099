"""The processes that share a run: each takes whole episodes, gradients are summed, rank 0 writes.

Started by `accelerate launch -m taskadapter_lite train ...` or `accelerate.notebook_launcher`; in a plain process every
function here is a no-op.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from taskadapter_lite.episodes import Episodes, episode_hash
from taskadapter_lite.results import RunResult


class Team:
    """This process among the `size` processes of a run.

    Attributes:
        rank: 0..size-1; rank 0 prints and writes.
        size: number of processes.
        device: the device that the launcher gave this process, or None in a plain process.
    """

    def __init__(self) -> None:
        self.rank, self.size, self.device = 0, 1, None
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            from accelerate import PartialState

            wants_cpu = os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes")
            state = PartialState(cpu=wants_cpu or not torch.cuda.is_available())
            self.rank, self.size, self.device = state.process_index, state.num_processes, state.device

    @property
    def is_main(self) -> bool:
        """True in the one process that prints and writes."""
        return self.rank == 0

    def share(self, items: Sequence | Episodes) -> list:
        """This rank's part of a list: the parts of all ranks are disjoint and together the whole."""
        return [items[i] for i in range(self.rank, len(items), self.size)]

    def gather(self, values: list) -> list:
        """Join the lists that the ranks made from their `share`, in the order of the whole list."""
        if self.size == 1:
            return values
        parts = self._collective("gather_object", [values])
        return [parts[i % self.size][i // self.size] for i in range(sum(map(len, parts)))]

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its sum over the ranks (a rank without episodes adds zero)."""
        if self.size == 1:
            return
        parameters = list(parameters)
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in parameters])
        flat = self._collective("reduce", flat, "sum")
        for parameter, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            parameter.grad = part.view_as(parameter)

    def combine(self, values: Sequence[float], function: Callable = max) -> list[float]:
        """Combine each value over the ranks, by `max` or `sum`, so that all of them know and decide the same."""
        if self.size == 1:
            return list(values)
        parts = self._collective("gather_object", [list(values)])
        return [function(column) for column in zip(*parts, strict=True)]

    def copy_from_main(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite the tensors with those of rank 0."""
        if self.size > 1:
            for tensor in tensors:
                tensor.data.copy_(self._collective("broadcast", tensor.data))

    def leave(self) -> None:
        """Say goodbye at the end of a command, so that no process waits for this one."""
        if self.size > 1:
            from accelerate import PartialState

            PartialState().destroy_process_group()

    def _collective(self, function: str, *arguments):
        """Run one of accelerate's collective functions; a lost process becomes one clear sentence."""
        from accelerate import utils

        try:
            return getattr(utils, function)(*arguments)
        except RuntimeError as error:
            raise ConnectionError(
                f"rank {self.rank} lost another process of this run ({str(error).splitlines()[0][:120]}): "
                "start it again with resume='auto', with any number of processes"
            ) from None


def join_result(result: RunResult, team: Team, episodes: Episodes) -> None:
    """Put what each process found of its `share` of the episodes together, in the order of the whole list."""
    result.accuracies = team.gather(result.accuracies)
    result.variants = {name: team.gather(values) for name, values in result.variants.items()}
    rows = [team.combine(row, sum) for row in result.confusion]
    result.confusion = [[int(count) for count in row] for row in rows]
    counts = team.combine(list(result.pairs.values()), sum)
    result.pairs = {name: int(count) for name, count in zip(result.pairs, counts, strict=True)}
    result.episodes = episode_hash(episodes)
