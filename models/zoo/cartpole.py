"""Which way must the cart go, so that its pole stays up? Learned by trying, in Gymnasium's CartPole-v1.

The environment is that of Barto, Sutton & Anderson 1983 (doi:10.1109/TSMC.1983.6313077). The method is proximal policy
optimisation (Schulman et al. 2017, arXiv:1707.06347) with generalised advantage estimation (arXiv:1506.02438).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import keras
import numpy as np
from pydantic import Field

from modelyard import (
    Baseline,
    Dataset,
    FitRun,
    Gate,
    ModelSpec,
    PreparedData,
    Recipe,
    Split,
    Splits,
    State,
    VectorInput,
    choice,
    log_range,
    recipe,
)
from modelyard.models.types import Array

ENVIRONMENT = "CartPole-v1"
LABELS = ("left", "right")
NUMBERS = 4
"""An observation: position and speed of the cart, angle and angular speed of the pole."""
STEPS = 500
"""An episode ends here at the latest: the largest return."""
TEST_SEED, TEST_EPISODES = 1983, 100
VALIDATION_SEED, VALIDATION_EPISODES = 1984, 50
DISCOUNT, TRACE = 0.99, 0.95
ASTRAY = 2000
"""Carts that start anywhere, for the values of what a good driver never sees."""
CLIP = 0.2
"""Share by which an action's probability may change before it no longer counts."""


@recipe
class CartpoleRecipe(Recipe):
    """The recipe of the cart's driver. An epoch plays some episodes and learns from them."""

    episodes: Annotated[int, Field(ge=2, le=1024, description="Episodes that an epoch plays at the same time.")] = 32
    repeats: Annotated[int, Field(ge=1, le=64, description="Times that an epoch's steps are learned from.")] = 4
    entropy: Annotated[
        float, Field(ge=0, le=1, description="Weight of the actions' entropy: how long the driver goes on trying.")
    ] = 0.01
    target: Annotated[
        float, Field(ge=1, le=STEPS, description="Mean return of the validation episodes that ends training.")
    ] = 500.0


# --- playing ------------------------------------------------------------------------------------------------------

Policy = Callable[[Array], Array]
"""Observations ``float32 [N,4]`` -> actions ``int64 [N]``."""


@dataclass(frozen=True)
class Episodes:
    """N episodes from start to end, side by side; the longest has T steps, each of which is rewarded with 1."""

    observations: Array
    """``float32 [T + 1,N,4]``."""
    actions: Array
    """``int64 [T,N]``."""
    played: Array
    """``bool [T,N]``: whether the episode had not ended before that step."""

    @property
    def mean_return(self) -> float:
        return float(self.played.sum(axis=0).mean())


def play(policy: Policy, seed: int, episodes: int, spread: float = 0.05) -> Episodes:
    """Plays episodes to their end; the seed decides how they start, each number in ``-spread..spread``."""
    import gymnasium

    carts = gymnasium.make_vec(ENVIRONMENT, num_envs=episodes, vectorization_mode="vector_entry_point")
    observation, _ = carts.reset(seed=seed, options={"low": -spread, "high": spread})
    going = np.ones(episodes, bool)
    observations, actions, played = [observation], [], []
    while going.any():
        action = policy(observation)
        observation, _, fell, ended, _ = carts.step(action)
        observations.append(observation)
        actions.append(action)
        played.append(going)
        going = going & ~(fell | ended)
    return Episodes(np.stack(observations), np.stack(actions), np.stack(played))


def follow_pole(observation: Array) -> Array:
    """The driver to compare with, made by hand: push to the side that the pole falls to."""
    return (observation[:, 2] + observation[:, 3] > 0).astype(np.int64)


def observe(folder: Path) -> Splits:  # noqa: ARG001  # the contract reads from a folder; this is played
    """What the driver made by hand sees, and does: examples of observations. Training plays episodes of its own."""

    def part(seed: int) -> Split:
        found = play(follow_pole, seed, episodes=10)
        return Split(found.observations[:-1][found.played], found.actions[found.played].astype(np.int32))

    return Splits(train=part(0), validation=part(VALIDATION_SEED), test=part(TEST_SEED))


def evaluate(predict: Callable[[Any], Mapping[str, Array]], split: Split) -> dict[str, float]:  # noqa: ARG001  # it plays
    """Mean return of 100 episodes in which the version takes the action that it thinks better."""
    return {"mean_return": play(lambda seen: predict(seen)["class_id"], TEST_SEED, TEST_EPISODES).mean_return}


def measure_baseline(splits: Splits) -> Baseline:  # noqa: ARG001  # it plays
    """The driver made by hand, in the same episodes."""
    return Baseline("push to where the pole falls", play(follow_pole, TEST_SEED, TEST_EPISODES).mean_return)


# --- model --------------------------------------------------------------------------------------------------------


def build(recipe: CartpoleRecipe, state: State) -> Any:  # noqa: ARG001  # part of the contract
    """``float32 [N,4]`` -> probabilities of the actions ``[N,2]``, and the observation's value ``[N,1]``.

    The value is the discounted share of all time to come in which the pole stands: 1 is for ever.
    """
    observation = keras.Input((NUMBERS,), name="vectors")

    def network(size: int, **last: Any) -> Any:
        hidden = observation
        for _ in range(2):
            hidden = keras.layers.Dense(64, activation="tanh")(hidden)
        return keras.layers.Dense(size, **last)(hidden)

    actor = network(len(LABELS), activation="softmax", kernel_initializer=keras.initializers.Orthogonal(0.01))
    return keras.Model(observation, [actor, network(1, activation="sigmoid")], name="cartpole")


def make_signatures(model: Any, state: State) -> dict[str, Callable[..., dict[str, Any]]]:  # noqa: ARG001
    """``serving_default``: what to do. ``value``: how well the pole stands."""
    import tensorflow as tf

    def choose(vectors: Any) -> dict[str, Any]:
        probabilities, _ = model(vectors)
        return {"probabilities": probabilities, "class_id": tf.argmax(probabilities, axis=1)}

    return {"serving_default": choose, "value": lambda vectors: {"value": model(vectors)[1]}}


# --- learning -----------------------------------------------------------------------------------------------------


def prepare(splits: Splits, recipe: CartpoleRecipe) -> PreparedData:  # noqa: ARG001  # it learns from what it plays
    return PreparedData(train=None, validation=None)


def fit(run: FitRun) -> None:
    """Plays and learns in turn; keeps the weights that played the validation episodes best."""
    model, recipe = run.model, run.recipe
    generator = np.random.default_rng(recipe.seed)
    optimizer = keras.optimizers.Adam(recipe.learning_rate)
    model.compile(optimizer, loss=[make_policy_loss(recipe.entropy), "mse"])
    best, kept = 0.0, model.get_weights()
    for epoch in range(1, recipe.epochs + 1):
        optimizer.learning_rate = recipe.learning_rate * (1 - (epoch - 1) / recipe.epochs)
        episodes = play(lambda seen: sample(model, seen, generator), int(generator.integers(2**31)), recipe.episodes)
        loss = learn(model, episodes, recipe, generator)
        reached = play(lambda seen: likeliest(model, seen), VALIDATION_SEED, VALIDATION_EPISODES).mean_return
        if reached > best:
            best, kept = reached, model.get_weights()
        run.report(epoch, {"loss": loss, "mean_return": episodes.mean_return, "val_mean_return": reached})
        if best >= recipe.target:
            break
    model.set_weights(kept)
    appraise(model, generator)


def sample(model: Any, observation: Array, generator: np.random.Generator) -> Array:
    """An action for each observation, drawn by their probabilities."""
    left = model.predict_on_batch(observation)[0][:, 0]
    actions: Array = (generator.random(len(left)) >= left).astype(np.int64)
    return actions


def likeliest(model: Any, observation: Array) -> Array:
    actions: Array = model.predict_on_batch(observation)[0].argmax(axis=1)
    return actions


def learn(model: Any, episodes: Episodes, recipe: CartpoleRecipe, generator: np.random.Generator) -> float:
    """Several passes over the steps of some episodes -> the mean loss."""
    steps, players, _ = episodes.observations.shape
    answers = model.predict_on_batch(episodes.observations.reshape(-1, NUMBERS))
    probabilities, values = (answer.reshape(steps, players, -1) for answer in answers)
    values = values[..., 0]
    advantages = estimate_advantages(values, episodes.played)
    taken = np.take_along_axis(probabilities[:-1], episodes.actions[..., None], axis=2)[..., 0]
    played = episodes.played
    x, targets = episodes.observations[:-1][played], (advantages + values[:-1])[played]
    gains = advantages[played]
    gains = (gains - gains.mean()) / (gains.std() + 1e-8)
    y = np.stack([episodes.actions[played], gains, taken[played]], axis=1).astype(np.float32)
    size = min(recipe.batch_size, len(x))
    losses = []
    for _ in range(recipe.repeats):
        order = generator.permutation(len(x))[: len(x) // size * size].reshape(-1, size)
        losses += [model.train_on_batch(x[rows], [y[rows], targets[rows, None]])[0] for rows in order]
    return float(np.mean(losses))


def estimate_advantages(values: Array, played: Array) -> Array:
    """``float32 [T,N]``: how much better than ``values`` ``[T + 1,N]`` each step of the episodes turned out."""
    stands = find_standing(played)
    gaps = (1 - DISCOUNT) + DISCOUNT * stands * values[1:] - values[:-1]
    advantages = np.zeros_like(values)
    for step in reversed(range(len(played))):
        advantages[step] = gaps[step] + DISCOUNT * TRACE * stands[step] * advantages[step + 1]
    return advantages[:-1]


def find_standing(played: Array) -> Array:
    """``bool [T,N]``: whether the pole stood after each step."""
    lasted = np.full_like(played[:1], len(played) == STEPS) & played[-1:]
    return np.concatenate([played[1:], lasted])


def appraise(model: Any, generator: np.random.Generator) -> None:
    """Teaches the value alone: what becomes of carts that start anywhere, where the model drives them.

    A good driver hardly sees a falling pole: what it learned of values while it was bad is forgotten by now.
    """
    episodes = play(lambda seen: likeliest(model, seen), int(generator.integers(2**31)), ASTRAY, spread=1.5)
    stands = find_standing(episodes.played)
    outcomes = np.ones(episodes.observations.shape[:2], np.float32)  # who lasts to the end would go on
    for step in reversed(range(len(stands))):
        outcomes[step] = (1 - DISCOUNT) + DISCOUNT * stands[step] * outcomes[step + 1]
    steps, carts = np.argwhere(episodes.played)[: 10 * ASTRAY].T  # the first ones: later ones are much alike
    critic = keras.Model(model.inputs, model.outputs[1])
    critic.compile(keras.optimizers.Adam(3e-3), "mse")
    critic.fit(episodes.observations[steps, carts], outcomes[steps, carts], batch_size=256, epochs=10, verbose=0)


def make_policy_loss(entropy: float) -> Callable[[Any, Any], Any]:
    """The clipped objective, of targets ``[N,3]``: action, advantage, the action's probability when it was taken."""
    ops = keras.ops

    def loss(y_true: Any, y_pred: Any) -> Any:
        action, advantage, before = (y_true[:, k] for k in range(3))
        now = ops.sum(y_pred * ops.one_hot(ops.cast(action, "int32"), len(LABELS)), axis=1)
        ratio = now / before
        gain = ops.minimum(ratio * advantage, ops.clip(ratio, 1 - CLIP, 1 + CLIP) * advantage)
        return entropy * ops.sum(y_pred * ops.log(y_pred + 1e-8), axis=1) - gain

    return loss


CART_POLE = Dataset(
    name=ENVIRONMENT, homepage="https://gymnasium.farama.org/environments/classic_control/cart_pole/", read=observe
)

SPEC = ModelSpec(
    name="cartpole",
    task="custom",
    summary="Which way must the cart go, so that its pole stays up?",
    input=VectorInput(NUMBERS),
    labels=LABELS,
    dataset=CART_POLE,
    recipes={
        "quick": CartpoleRecipe(epochs=60, batch_size=256, learning_rate=3e-3),
        "full": CartpoleRecipe(epochs=60, batch_size=256, learning_rate=1e-3, episodes=64, repeats=8),
    },
    gate=Gate(metric="mean_return", floor=475.0, max_drop=5.0),
    prepare=prepare,
    build=build,
    fit=fit,
    evaluate=evaluate,
    metrics={"mean_return": "higher"},
    signatures=make_signatures,
    baseline=measure_baseline,
    search={"learning_rate": log_range(3e-4, 1e-2), "episodes": choice(16, 32, 64), "repeats": choice(2, 4, 8)},
)
