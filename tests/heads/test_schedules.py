"""Learning rates and lengths of a training, with literal expectations."""

import pytest
import torch

from avr.core import UsageError
from avr.heads import Training
from avr.heads._examples import even_parts
from avr.training import Plateau, build_optimizer, learning_rate, stages


def rates(training, steps, per_epoch=2):
    return [
        round(learning_rate(training, step, total_steps=steps, steps_per_epoch=per_epoch), 12) for step in range(steps)
    ]


def test_constant():
    assert rates(Training(lr=0.5, schedule="constant"), 3) == [0.5, 0.5, 0.5]


def test_cosine_starts_at_the_rate_and_heads_for_the_lowest():
    assert rates(Training(lr=1.0, min_lr=0.2, schedule="cosine"), 4) == pytest.approx(
        [1.0, 0.882842712475, 0.6, 0.317157287525]
    )


def test_step_drops_every_so_many_epochs_or_steps():
    by_epochs = Training(lr=1.0, schedule="step", drop_every=1)
    assert rates(by_epochs, 6) == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    by_steps = Training(lr=1.0, schedule="step", drop_every=3, drop_unit="steps")
    assert rates(by_steps, 6) == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1])


def test_plateau_drops_tenfold_down_to_its_floor_and_then_ends():
    plateau = Plateau(Training(lr=1e-4, min_lr=1e-6, schedule="plateau", patience=2, validation=0.2))
    seen = []
    for loss in [1.0, 0.9, 0.95, 0.91, 0.8, 0.85, 0.86, 0.9, 0.9]:
        seen.append((round(plateau.rate, 12), plateau.update(loss)))
    # Two epochs without a new low drop it: after 0.91 to 1e-5; 0.8 is a new low; after 0.86 to 1e-6; then the end.
    assert [rate for rate, _ in seen] == pytest.approx([1e-4] * 4 + [1e-5] * 3 + [1e-6] * 2)
    assert [ended for _, ended in seen] == [False] * 8 + [True]


def test_length_in_epochs_in_least_steps_and_in_steps():
    assert stages(Training(epochs=3, lr=0.1), 10) == [(30, 0.1)]
    assert stages(Training(epochs=3, min_steps=35, lr=0.1), 10) == [(40, 0.1)]
    assert stages(Training(epochs=3, steps=7, lr=0.1), 10) == [(7, 0.1)]


def test_two_stages_go_on_at_a_tenth():
    training = Training(epochs=8, second_epochs=4, lr=1e-5, schedule="two-stage")
    assert stages(training, 10) == [(80, 1e-5), (40, pytest.approx(1e-6))]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("adamw", torch.optim.AdamW),
        ("adam", torch.optim.Adam),
        ("sgd", torch.optim.SGD),
        ("rmsprop", torch.optim.RMSprop),
    ],
)
def test_optimizers(name, kind):
    made = build_optimizer([torch.nn.Parameter(torch.ones(1))], Training(optimizer=name, weight_decay=0.5), cuda=False)
    assert type(made) is kind
    assert made.defaults["weight_decay"] == 0.5
    assert name != "sgd" or made.defaults["momentum"] == 0.9


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"schedule": "plateau"}, "plateau needs a validation part"),
        ({"schedule": "step"}, "step needs drop_every"),
        ({"schedule": "two-stage"}, "two-stage needs second_epochs"),
        ({"early_stopping": 3}, "early_stopping needs a validation part"),
        ({"lr": 0.0}, "lr takes float > 0"),
        ({"validation": 1.0}, "validation takes 0 ≤ float < 1"),
        ({"batch_size": -1}, "batch_size takes int ≥ 0"),
        ({"epochs": 2.5}, "epochs takes int ≥ 1"),
        ({"optimizer": "lion"}, r"optimizer=lion is not possible; optimizer takes adamw\|sgd\|rmsprop\|adam"),
        ({"schedule": "warmup"}, r"schedule takes constant\|cosine\|step\|plateau\|two-stage"),
    ],
)
def test_settings_out_of_range_or_in_contradiction_are_refused(settings, message):
    with pytest.raises(UsageError, match=message):
        Training(**settings)


def test_batches_differ_by_one_video_at_most():
    assert even_parts(7, 3) == [slice(0, 2), slice(2, 4), slice(4, 7)]
    assert even_parts(33, 32) == [slice(0, 16), slice(16, 33)]  # never a batch of one
    assert even_parts(5, 0) == [slice(0, 5)]
    assert even_parts(4, 9) == [slice(0, 4)]
