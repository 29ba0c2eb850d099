"""Subtle breaks of the method's modules, each one replacement, with the tests that have to notice it."""

from typing import NamedTuple


class Break(NamedTuple):
    """One break: in `file`, `old` (there exactly once) becomes `new`; `tests` are the files that have to fail."""

    what: str
    file: str
    old: str
    new: str
    tests: str


STEP = "training/test_step.py training/test_loop.py"
EVALUATION = "test_evaluation.py"
BREAKS = (
    # ---- what is counted, and in which mode
    Break(
        "a pair counts where the partner is absent",
        "evaluation.py",
        "counts = [(predicted == true) & present, ",
        "counts = [predicted == true, ",
        EVALUATION,
    ),
    Break(
        "evaluation builds a graph",
        "evaluation.py",
        "        with torch.no_grad():\n            yield",
        "        with torch.enable_grad():\n            yield",
        EVALUATION,
    ),
    Break(
        "the confusion matrix is transposed",
        "evaluation.py",
        "(true * n + predicted)",
        "(predicted * n + true)",
        EVALUATION,
    ),
    Break(
        "a model stays in the scope of an evaluation",
        "evaluation.py",
        "        model.scope = own_scope\n",
        "",
        EVALUATION,
    ),
    Break(
        "the aggregation of another metric is used",
        "metrics.py",
        'if metric == trained.get("metric") else None',
        "if metric else None",
        "test_metrics.py test_evaluation.py",
    ),
    # ---- training
    Break(
        "the rate of the next step",
        "training/loop.py",
        "learning_rate_at(self.step, self.n_steps",
        "learning_rate_at(self.step + 1, self.n_steps",
        STEP,
    ),
    Break(
        "scope is missing from the identity",
        "training/loop.py",
        '            "scope": self.model.scope,\n            "T"',
        '            "T"',
        STEP,
    ),
    Break(
        "text is missing from the identity",
        "training/loop.py",
        '            "text": None if self.text is None else self.text.source,\n',
        "",
        STEP,
    ),
    Break("clipping is ignored", "training/step.py", "self.config.clip_norm or math.inf)", "math.inf)", STEP),
    Break(
        "the auxiliary loss is on wrong classes",
        "training/step.py",
        "self.labels[e.clips] for e in episodes]",
        "self.labels[e.clips.flip(0)] for e in episodes]",
        STEP,
    ),
    Break("the fast group is not faster", "training/step.py", "FAST_FACTOR = 3.0", "FAST_FACTOR = 1.0", STEP),
    Break(
        "the fast group decays",
        "training/step.py",
        '"factor": FAST_FACTOR, "weight_decay": 0.0}',
        '"factor": FAST_FACTOR}',
        STEP,
    ),
    Break(
        "sgd has no momentum",
        "training/step.py",
        "config.learning_rate, config.momentum,",
        "config.learning_rate, 0.0,",
        STEP,
    ),
    Break("AdamW has PyTorch's own momenta", "training/step.py", "betas=(0.9, 0.98), ", "", STEP),
    Break("the published rate is tripled, too", "training/step.py", '        groups[1]["factor"] = 1.0\n', "", STEP),
    Break(
        "losses of a step are summed",
        "training/step.py",
        "(loss.sum() / len(numbers)).backward()",
        "loss.sum().backward()",
        STEP,
    ),
    Break(
        "the first losses are divided wrongly",
        "training/loop.py",
        '"loss": loss / max(n_episodes, 1)',
        '"loss": loss / max(n_episodes, self.config.log_every)',
        STEP,
    ),
    Break("the auxiliary weight is ignored", "training/step.py", "loss + self.auxiliary_weight * F", "loss + F", STEP),
    Break(
        "the best adapters are forgotten",
        "training/loop.py",
        "            self.trainer.load_trained(self.best)\n",
        "            pass\n",
        STEP,
    ),
    # ---- scores
    Break(
        "an alignment is transposed",
        "metrics.py",
        "Alignment(distances.detach(), weights, ",
        "Alignment(distances.detach(), weights.mT, ",
        "test_metrics.py",
    ),
    Break(
        "TRX compares pairs alone",
        "metrics.py",
        "for c in (2, 3) if c <= T",
        "for c in (2,) if c <= T",
        "test_metrics.py",
    ),
    Break(
        "OTAM in one direction",
        "metrics.py",
        "return otam_distances(distances, gamma) + otam_distances(distances.transpose(-1, -2), gamma)",
        "return 2 * otam_distances(distances, gamma)",
        "test_metrics.py",
    ),
    Break(
        "OTAM averages clips, not distances",
        "metrics.py",
        'def otam_scores(support: Tensor, query: Tensor, aggregation: str = "per_shot"',
        'def otam_scores(support: Tensor, query: Tensor, aggregation: str = "prototype"',
        "test_metrics.py",
    ),
    Break(
        "frames are normalised before their mean",
        "metrics.py",
        'F.normalize(query.float().mean(-2), dim=-1, eps=EPSILON)\n    return torch.einsum("...qd',
        'F.normalize(query.float(), dim=-1).mean(-2)\n    return torch.einsum("...qd',
        "test_metrics.py",
    ),
    Break(
        "Bi-MHM in one direction",
        "metrics.py",
        "distances.amin(-1).mean(-1) + distances.amin(-2).mean(-1)",
        "2 * distances.amin(-1).mean(-1)",
        "test_metrics.py",
    ),
    # ---- tokens that are kept, clips that are read
    Break(
        "a row is marked known before it is written",
        "cache.py",
        "            tokens = self._compute(reader(number))\n",
        "            self._known[part] = True\n            tokens = self._compute(reader(number))\n",
        "test_cache.py test_evaluation.py",
    ),
    Break(
        "the type is missing from a file's key",
        "cache.py",
        '"dtype": str(dtype), "depth"',
        '"depth"',
        "test_cache.py test_evaluation.py",
    ),
    Break(
        "a model's key forgets the frames",
        "cache.py",
        "settings = [frozen, model.T, ",
        "settings = [frozen, ",
        "test_cache.py test_evaluation.py",
    ),
    Break(
        "the last crop is never drawn",
        "data/clips.py",
        "torch.randint(side - size + 1, ()",
        "torch.randint(max(1, side - size), ()",
        "data/test_clips.py",
    ),
    Break(
        "a clip may claim any number of frames",
        "data/decoding.py",
        "if self.packets > MAX_FRAMES:",
        "if self.packets > 10 * MAX_FRAMES:",
        "data/test_damaged_files.py data/test_clips.py",
    ),
    # ---- episodes
    Break(
        "the seeds of episodes are shifted",
        "episodes.py",
        "default_rng((self.seed, i % self.n_episodes))",
        "default_rng((self.seed, i % self.n_episodes + 1))",
        "test_episodes.py",
    ),
    Break(
        "a query may be a support clip",
        "episodes.py",
        "np.concatenate([clips[k_shot:] for clips in drawn])",
        "np.concatenate([clips[: len(clips) - k_shot] for clips in drawn])",
        "test_episodes.py",
    ),
    Break(
        "the hash does not see the queries' order",
        "episodes.py",
        "episode.query, episode.query_labels)",
        "episode.query.sort().values, episode.query_labels)",
        "test_episodes.py",
    ),
    # ---- the four steps
    Break(
        "inductive queries see each other",
        "adapters.py",
        "return ~column | torch.eye",
        "return ~column | row | torch.eye",
        "test_adapters.py",
    ),
    Break(
        "split support sees queries",
        "adapters.py",
        "return row == column",
        "return (row == column) | ~row",
        "test_adapters.py",
    ),
    Break(
        "the joint adapter reads the MLP",
        "adapters.py",
        "x + self.joint(normed)",
        "x + self.joint(x)",
        "test_adapters.py",
    ),
    Break(
        "task attention goes without its mask",
        "adapters.py",
        'self.attend("task", x, mask, slots)',
        'self.attend("task", x, None, slots)',
        "test_adapters.py",
    ),
    Break(
        "the mask of all frames is that of other clips",
        "adapters.py",
        "mask.repeat_interleave(T, 0).repeat_interleave(T, 1)",
        "mask.repeat(T, T)",
        "test_adapters.py",
    ),
    Break(
        "two clips of one class have the marks of two classes",
        "adapters.py",
        "repeat_interleave(n_support // n_way)",
        "repeat(n_support // n_way)",
        "test_adapters.py",
    ),
    Break(
        "the embedding is added in every frame alike",
        "model.py",
        "            tokens = tokens + self.temporal[:, None]\n        blocks",
        "            tokens = tokens + self.temporal.mean(0)\n        blocks",
        "test_model.py",
    ),
    Break(
        "the backbone follows the mode of training",
        "model.py",
        "        self.backbone.eval()\n        return self",
        "        return self",
        "test_model.py",
    ),
    # ---- intervals
    Break(
        "the interval has the bell curve's factor",
        "results.py",
        "t_factor(values.size) * values.std(ddof=1)",
        "1.96 * values.std(ddof=1)",
        "test_results.py",
    ),
    Break(
        "the spread is divided by n",
        "results.py",
        "values.std(ddof=1) / math.sqrt(values.size)",
        "values.std() / math.sqrt(values.size)",
        "test_results.py",
    ),
    Break(
        "differences are not paired",
        "results.py",
        "accuracy_interval(per_episode - baseline[1].mean(0))",
        "accuracy_interval(np.sort(per_episode) - np.sort(baseline[1].mean(0)))",
        "test_results.py",
    ),
)
