"""Examples in the help of each command; a test parses every one."""

from collections.abc import Mapping

JOB, SEARCH, KEY = "job-0123456789abcdef", "search-0123456789abcdef", "0123456789ab"

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "": (
        "modelyard up                              # everything on this machine, until Ctrl-C",
        "modelyard train mnist_cnn --wait          # in another terminal",
        "modelyard predict mnist_cnn seven.png",
        "modelyard jobs --help                     # every command has examples",
        "modelyard --install-completion            # commands and options by the Tab key",
    ),
    "init": ("modelyard init shop", "modelyard init shop --example mnist_cnn"),
    "check": ("modelyard check churn", "modelyard check churn --recipe full --set epochs=3"),
    "promote": (
        "modelyard promote mnist_cnn 3 --reason 'better on sevens'",
        "modelyard promote mnist_cnn 3 --force --reason 'the gate is too strict for this data'",
    ),
    "rollback": ("modelyard rollback mnist_cnn --reason 'worse on sevens'",),
    "rollout": (
        "modelyard rollout mnist_cnn",
        "modelyard rollout mnist_cnn --canary 4 --percent 5",
        "modelyard rollout mnist_cnn --canary 0 --shadow 4",
        "modelyard rollout mnist_cnn --label blue=3 --label green=",
    ),
    "move": ("modelyard move mnist_cnn gpu --reason 'too slow on processors'",),
    "pools": ("modelyard pools",),
    "audit": ("modelyard audit --model mnist_cnn", "modelyard audit --kind denied --since 2026-11-01 --json"),
    "verify": ("modelyard verify", "modelyard verify --accept mnist_cnn --reason 'restored from the backup'"),
    "gc": ("modelyard gc --dry-run", "modelyard gc --model mnist_cnn --keep 3"),
    "migrate": ("modelyard migrate",),
    "sync-models": ("modelyard sync-models --served-only", "modelyard sync-models --move --once"),
    "tensorboard": ("modelyard tensorboard --port 6006",),
    "import": (
        "modelyard import cats ./saved_model --labels tabby,siamese",
        "modelyard import cats ./cats.keras --test photos.npz --manual",
    ),
    "up": ("modelyard up", "modelyard up --model mnist_cnn --port 9000 --serving-port 9500"),
    "serve": ("modelyard serve --models-dir .", "modelyard serve --models-dir . --batch never --port 9000"),
    "plan-batches": (
        "modelyard plan-batches mnist_cnn --latency-ms 20",
        "modelyard plan-batches --serving-file batching.txt --cpus 2",
    ),
    "train": (
        "modelyard train mnist_cnn --wait",
        "modelyard train mnist_cnn --recipe full --set epochs=5 --rollout canary",
        "modelyard train mnist_cnn --search 16 --promote-best",
    ),
    "predict": (
        "modelyard predict mnist_cnn seven.png",
        "modelyard predict sentiment_lstm 'I have never laughed so little.'",
        """modelyard predict churn '{"age": 41, "plan": "gold", "tenure_months": 7}'""",
        "modelyard predict sentiment_lstm 'Not bad at all.' --explain",
        "modelyard predict sentiment_lstm -        # the text comes through a pipe",
    ),
    "models": ("modelyard models", "modelyard models --json"),
    "versions": ("modelyard versions mnist_cnn", "modelyard versions mnist_cnn 3"),
    "card": ("modelyard card mnist_cnn", "modelyard card mnist_cnn 3 --json"),
    "doctor": ("modelyard doctor", "modelyard doctor --url https://models.example.org --key-file key"),
    "jobs": (
        "modelyard jobs",
        "modelyard jobs --model mnist_cnn --state failed --state rejected",
        "modelyard jobs --limit 1 --json",
    ),
    "jobs show": (f"modelyard jobs show {JOB}",),
    "jobs follow": (f"modelyard jobs follow {JOB}",),
    "jobs cancel": (f"modelyard jobs cancel {JOB}",),
    "jobs retry": (f"modelyard jobs retry {JOB}",),
    "jobs log": (f"modelyard jobs log {JOB}",),
    "searches": ("modelyard searches",),
    "searches show": (f"modelyard searches show {SEARCH}",),
    "searches cancel": (f"modelyard searches cancel {SEARCH}",),
    "triggers": ("modelyard triggers list mnist_cnn",),
    "triggers list": ("modelyard triggers list mnist_cnn",),
    "triggers set": (
        "modelyard triggers set mnist_cnn nightly --cron '0 3 * * *'",
        "modelyard triggers set mnist_cnn drifted --psi 0.2 --rollout canary",
    ),
    "triggers remove": ("modelyard triggers remove mnist_cnn nightly",),
    "keys": ("modelyard keys create ann --role operator",),
    "keys create": ("modelyard keys create checkout --role predictor --model mnist_cnn --days 90",),
    "keys list": ("modelyard keys list",),
    "keys revoke": (f"modelyard keys revoke {KEY}",),
}
"""By the words of a command."""
