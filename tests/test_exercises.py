"""The check names the mistake: for every exercise, and for the mechanism itself."""

import itertools
import random
import re
import warnings

import cloudpickle
import numpy as np
import pytest
import torch

from labkit import exercises, profile
from labkit.exercises import core
from labkit.exercises.core import NOT_ATTEMPTED, RIGHT, WRONG, Exercise

EXERCISES = {name: task for name, (_, task) in exercises.names().items()}


@pytest.fixture(params=EXERCISES)
def task(request):
    return EXERCISES[request.param]


def test_right_solutions_are_right(task):
    assert len(task.solutions) >= 2, "another solution, written differently, tests the check"
    for solution in task.solutions:
        verdict = task.diagnose(solution)
        assert verdict.state == RIGHT, (solution, verdict.text)


def test_each_mistake_is_known_by_its_own_name(task):
    assert len(task.mistakes) >= 2
    assert len({mistake.sentence for mistake in task.mistakes}) == len(task.mistakes)
    for mistake in task.mistakes:
        verdict = task.diagnose(mistake.function)
        assert verdict.state == WRONG, mistake.name
        assert verdict.mistakes == (mistake.name,), (mistake.name, verdict)
        assert verdict.text == mistake.sentence


def test_pairs_of_mistakes_are_named_together(task):
    """A pair may look like a single mistake (the larger one hides the other), never like none."""
    for mistakes, seen in task.known:
        if len(mistakes) == 2 and not task.same(task.expected, seen):
            switches = {k: v for mistake in mistakes for k, v in mistake.switches.items()}
            verdict = task.diagnose(lambda *a, s=switches: task.reference(*a, **s))
            assert verdict.state == WRONG and verdict.mistakes


def test_what_is_not_written_is_not_wrong(task):
    def stub(*args):
        raise NotImplementedError

    assert task.diagnose(stub).state == NOT_ATTEMPTED


@pytest.mark.parametrize("value", [None, 0.0, "", torch.zeros(1), (), (None, None)])
def test_nonsense_is_wrong_and_raises_nothing(task, value):
    verdict = task.diagnose(lambda *args: value)
    assert verdict.state == WRONG and verdict.text


def test_hints_points_and_sentences_are_there(task):
    assert 2 <= len(task.hints) <= 3 and task.points >= 1 and task.right
    for text in (*task.hints, task.right, *(m.sentence for m in task.mistakes)):
        assert text[0].isupper() and text[-1] in ".?!`:)", text
        assert not re.search(r"\s\s", text), text


def test_a_check_leaves_the_random_numbers_of_the_notebook_alone(task):
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    task.diagnose(task.reference)
    assert torch.equal(torch.rand(4), expected)


# the mechanism, on an exercise of its own


def _scaled_sum(x, w, *, sign=1.0, power=1):
    return sign * (x**power * w).sum(0), x.mean()


def probe(rows):
    return lambda g: (torch.randn(rows, 3, generator=g), torch.rand(rows, 1, generator=g))


@pytest.fixture
def toy(monkeypatch):
    made = Exercise(
        "toy",
        _scaled_sum,
        probes=[probe(2), probe(5)],
        points=2,
        right="Done.",
        hints=("One.", "Two."),
        tell=("total", "mean"),
    )
    made.mistake("The sign is turned.", sign=-1.0)
    made.mistake("It is squared.", power=2)
    made.wrong("The mean is detached.")(lambda x, w: (_scaled_sum(x, w)[0], x.mean().detach()))
    monkeypatch.setattr(exercises, "names", lambda: {"toy": ("99", made)})
    monkeypatch.setattr(exercises, "_handles", {})
    monkeypatch.setattr(exercises, "_hints", {})
    return made


def test_two_mistakes_at_once_are_both_named(toy):
    verdict = toy.diagnose(lambda x, w: _scaled_sum(x, w, sign=-1.0, power=2))
    assert len(verdict.mistakes) == 2
    assert "The sign is turned." in verdict.text and "It is squared." in verdict.text


def test_a_lost_gradient_is_seen_although_the_output_is_right(toy):
    verdict = toy.diagnose(lambda x, w: (_scaled_sum(x.detach(), w)[0], x.mean()))
    assert verdict.state == WRONG and "gradient that reaches x" in verdict.text


def test_a_change_in_place_is_seen(toy):
    def careless(x, w):
        result = _scaled_sum(x.clone(), w)
        x.mul_(2)
        return result

    assert "changes its argument x in place" in toy.diagnose(careless).text


def test_an_unknown_mistake_is_shown_by_the_smallest_example(toy):
    verdict = toy.diagnose(lambda x, w: (_scaled_sum(x, w)[0] + 0.25, x.mean()))
    assert not verdict.mistakes and "total of the result should be" in verdict.text
    assert "The largest difference is 0.25." in verdict.text and "of shape (2, 3)" in verdict.text


def test_an_exception_is_told_with_its_line(toy):
    def crooked(x, w):
        return x @ x

    verdict = toy.diagnose(crooked)
    assert "RuntimeError in the line `return x @ x`" in verdict.text


def test_a_function_that_only_raises_is_not_taken_for_a_mistake_that_only_raises(toy):
    def other_shapes(x, w):
        raise RuntimeError("sizes differ")

    def raises(text):
        return lambda x, w: (_ for _ in ()).throw(RuntimeError(text))

    toy.wrong("There are no rows.")(other_shapes)
    assert toy.diagnose(raises("sizes differ")).text == "There are no rows."
    verdict = toy.diagnose(raises("no such axis"))
    assert not verdict.mistakes and "no such axis" in verdict.text


@pytest.mark.parametrize("axis", [1, 2, 3, (2, 3), (1, 2, 3)])
def test_a_mean_along_the_wrong_axis_is_no_mistake_in_counting(axis):
    def student(images, labels, classes):
        return torch.stack([images[labels == k].mean(axis) for k in range(classes)])

    verdict = EXERCISES["class_means"].diagnose(student)
    assert verdict.state == WRONG and len(verdict.mistakes) <= 1
    assert "median" not in verdict.text and "counted from" not in verdict.text


@pytest.mark.parametrize("error", [ValueError, SystemExit, RecursionError])
def test_nothing_that_a_function_raises_gets_out(toy, error):
    def raises(x, w):
        raise error("so")

    assert toy.diagnose(raises).state == WRONG


def test_state_kept_between_calls_is_seen():
    kept = []

    def keeps(x):
        kept.append(1)
        return x + len(kept[1:])

    once = Exercise("t", lambda x: x + 0, probes=[lambda g: (torch.ones(1),)], calls=2)
    assert "call 2" in once.diagnose(keeps).text


def test_a_module_is_followed_into_its_parameters():
    def probe(g):
        layer = torch.nn.Linear(3, 2)
        return layer, torch.randn(5, 3, generator=g)

    task = Exercise("t", lambda layer, x: layer(x), probes=[probe])
    assert task.diagnose(lambda layer, x: x @ layer.weight.T + layer.bias).state == RIGHT
    frozen = task.diagnose(lambda layer, x: x @ layer.weight.detach().T + layer.bias)
    assert "gradient that reaches layer.weight" in frozen.text


def test_what_is_printed_is_shown_with_a_wrong_answer_only(toy, capsys):
    def talks(x, w):
        print("shape", tuple(x.shape))
        return 0

    assert "Your function printed: shape (2, 3)" in toy.diagnose(talks).text
    assert not capsys.readouterr().out


def test_the_student_s_function_is_used_if_it_is_right(toy):
    def other(x, w):
        return torch.einsum("nd,nk->d", x, w), x.sum() / x.numel()

    handle = exercises.exercise("toy")(other)
    assert handle.whose == "your" and handle.function is other and handle.__name__ == "other"
    wrong = exercises.exercise("toy")(lambda x, w: 0)
    assert wrong.whose == "the kit's" and wrong.function is _scaled_sum
    assert exercises.yours("toy")(1, 2) == 0


def test_a_function_that_fails_later_is_replaced_and_it_is_said(toy, capsys):
    def narrow(x, w):
        assert len(x) < 10, "only small ones"
        return _scaled_sum(x, w)

    handle = exercises.exercise("toy")(narrow)
    x, w = torch.ones(20, 3), torch.ones(20, 1)
    assert handle(x, w)[0].tolist() == [20, 20, 20]
    assert "only small ones" in capsys.readouterr().out
    assert handle.whose == "the kit's" and handle.verdict.state == WRONG


def test_a_handle_travels_to_a_worker(toy):
    handle = exercises.exercise("toy")(_scaled_sum)
    again = cloudpickle.loads(cloudpickle.dumps(handle))
    assert again.whose == "your"


def test_check_raises_only_under_grading(toy, monkeypatch, capsys):
    exercises.check("toy")
    assert "its cell was not run" not in capsys.readouterr().err
    exercises.exercise("toy")(lambda x, w: 0)
    exercises.check("toy")
    assert "0 of 2 points" in capsys.readouterr().out
    monkeypatch.setenv("LABKIT_GRADING", "1")
    with pytest.raises(AssertionError, match="toy: wrong"):
        exercises.check("toy")
    exercises.exercise("toy")(_scaled_sum)
    exercises.check("toy")
    assert "2 of 2 points" in capsys.readouterr().out


def test_hints_come_one_after_the_other_and_the_last_stays(toy, capsys):
    for _ in range(3):
        exercises.hint("toy")
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["Hint 1 of 2: One.", "Hint 2 of 2: Two.", "Hint 2 of 2: Two."]


def test_progress_lists_every_exercise_of_the_lab(toy):
    assert exercises.progress().loc["toy", "state"].endswith(NOT_ATTEMPTED)
    exercises.exercise("toy")(_scaled_sum)
    assert list(exercises.progress().loc["toy"]) == ["2 of 2", f"✔ {RIGHT}"]


def test_an_unknown_name_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="no exercise is called 'lstm'"):
        exercises.exercise("lstm")


def test_what_the_answer_says_is_escaped(toy):
    answer = exercises._Answer(core.Verdict("toy", WRONG, "a < b"))
    assert "a &lt; b" in answer._repr_html_() and "hint('toy')" in repr(answer)


def test_observations_are_the_same_each_time(task):
    pairs = itertools.pairwise(task.observations(task.reference) for _ in range(2))
    assert all(task.same(a, b) for a, b in pairs)


def test_the_reference_is_the_first_of_the_solutions(toy):
    assert toy.solutions[0] is toy.reference


@pytest.mark.parametrize(
    "expected, given, told",
    [
        (1.0, torch.tensor(1.0), "should be 1"),
        (True, 1, "should be True"),
        (torch.tensor([1, 2]), torch.tensor([1.0, 2.0]), "should be"),
        (torch.tensor([1, 2], dtype=torch.uint8), torch.tensor([1, 2]), "should be"),
        (torch.tensor([True]), torch.tensor([1]), "should be"),
        (torch.ones(2, 1), torch.ones(2), "of shape (2, 1)"),
        (torch.ones(2), torch.ones(2).numpy(), "a NumPy array"),
        ({"a": 1}, {"b": 1}, "the keys ['a']"),
        ((1, 2), (1, 2, 3), "2 values"),
    ],
)
def test_another_kind_of_result_is_another_result(expected, given, told):
    task = Exercise("t", lambda x: expected, probes=[lambda g: (torch.ones(1),)])
    assert task.diagnose(lambda x: expected).state == RIGHT
    verdict = task.diagnose(lambda x: given)
    assert verdict.state == WRONG and told in verdict.text


def test_nan_and_infinity_are_values_like_others():
    odd = torch.tensor([float("nan"), float("inf"), 1.0])
    task = Exercise("t", lambda x: odd.clone(), probes=[lambda g: (torch.ones(1),)])
    assert task.diagnose(lambda x: odd + 0).state == RIGHT
    assert task.diagnose(lambda x: odd.nan_to_num()).state == WRONG


def test_every_function_sees_the_same_random_numbers_and_the_notebook_s_go_on_undisturbed():
    def draws(x):
        return torch.rand(2), float(np.random.rand()), random.random()

    task = Exercise("t", draws, probes=[lambda g: (torch.ones(1),)])
    profile.seed_everything(5)
    following = torch.rand(2).tolist(), np.random.rand(), random.random()
    profile.seed_everything(5)
    assert task.diagnose(lambda x: draws(x)).state == RIGHT
    assert (torch.rand(2).tolist(), np.random.rand(), random.random()) == following


def test_a_check_within_no_grad_sees_gradients_and_warnings_stay_silent(toy, recwarn):
    def warns(x, w):
        warnings.warn("look", stacklevel=1)
        return _scaled_sum(x, w)

    with torch.no_grad():
        assert toy.diagnose(warns).state == RIGHT
        assert toy.diagnose(lambda x, w: (_scaled_sum(x.detach(), w)[0], x.mean())).state == WRONG
    assert not recwarn.list


def test_a_gradient_that_only_its_sum_gets_right_is_seen():
    def spread(x):
        return x + (x.flip(0) - x).detach() * 0

    def crossed(x):
        return x.detach() + (x.flip(0) - x.flip(0).detach())

    task = Exercise("t", spread, probes=[lambda g: (torch.randn(3, generator=g),)])
    assert task.diagnose(crossed).state == WRONG


def test_little_of_much_print_is_shown(toy):
    def talks(x, w):
        print("x" * 10_000)

    assert len(toy.diagnose(talks).text) < 1_000


def test_an_error_of_the_kit_s_own_function_is_raised_as_it_is(toy, capsys):
    handle = exercises.exercise("toy")(lambda x, w: 0)
    capsys.readouterr()
    with pytest.raises(TypeError):
        handle("no tensor", 1)
    assert not capsys.readouterr().out


def test_progress_leaves_out_labs_that_were_not_begun(toy, monkeypatch):
    other = Exercise("other", _scaled_sum, probes=[probe(2)])
    monkeypatch.setattr(exercises, "names", lambda: {"toy": ("99", toy), "other": ("98", other)})
    assert list(exercises.progress().index) == ["toy", "other"]
    exercises.exercise("toy")(_scaled_sum)
    assert list(exercises.progress().index) == ["toy"]


def test_a_handle_within_a_check_is_silent_and_keeps_its_place(toy, capsys):
    handle = exercises.exercise("toy")(_scaled_sum)
    outer = Exercise("outer", lambda x: x + 0, probes=[lambda g: (torch.ones(1),)])
    capsys.readouterr()
    verdict = outer.diagnose(lambda x: handle(x, "no tensor"))
    assert verdict.state == WRONG and "printed" not in verdict.text
    assert handle.whose == "your" and not capsys.readouterr().out
    assert not core.checking


# observations are data, and only data


class EqualToAll:
    def __eq__(self, other):
        return True

    __hash__ = None


class Obliging(torch.Tensor):
    """Whatever is done with it gives True."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return True


def with_attributes(tensor):
    tensor.clone = tensor.detach = tensor.double = lambda: torch.ones(3)
    return tensor


@pytest.mark.parametrize(
    "value",
    [
        EqualToAll(),
        [EqualToAll()],
        torch.zeros(3).as_subclass(Obliging),
        with_attributes(torch.zeros(3)),
        np.array([EqualToAll()]),
    ],
)
def test_what_poses_as_a_result_is_wrong_and_told_in_words(value):
    plain = Exercise("t", lambda x: torch.ones(3), probes=[lambda g: (torch.ones(1),)])
    assert plain.diagnose(lambda x: value).state == WRONG
    assert core.foreign(value)

    def look(function):
        return {"it is one": bool(function(1) == 1)}

    looked = Exercise("t", lambda x: 1.0, observe=look)
    verdict = looked.diagnose(lambda x: value)
    assert verdict.state == WRONG and "It returns a" in verdict.text


@pytest.mark.parametrize(
    "value",
    [
        torch.zeros(2).to_sparse(),
        torch.zeros(2, device="meta"),
        torch.zeros(2, dtype=torch.bfloat16),
        torch.zeros(2, dtype=torch.complex64),
        10**400,
        1j,
        float("nan"),
        "x" * 10**6,
        b"x",
        {1, 2},
        range(3),
        print,
        torch.nn.Linear(2, 2),
        np.float32(3),
        {"a": [torch.ones(1), (None,)]},
    ],
)
def test_whatever_is_returned_is_wrong_or_right_and_never_an_error(toy, value):
    verdict = toy.diagnose(lambda x, w: value)
    assert verdict.state == WRONG and len(verdict.text) < 4_000
    for seen in toy.observations(lambda x, w: value):
        kinds = (torch.Tensor, bool, int, float, str, type(None), core.Raised)
        assert all(type(part) in kinds for part in seen.values())


def test_an_error_whose_text_is_an_error_is_told_by_its_name(toy):
    class Mute(Exception):
        def __str__(self):
            raise ValueError

    def raises(x, w):
        raise Mute

    assert "It raises Mute" in toy.diagnose(raises).text


def test_another_process_can_judge_what_was_observed(toy):
    for function in (_scaled_sum, lambda x, w: _scaled_sum(x, w, power=2), lambda x, w: 1 / 0):
        found = toy.observations(function)
        assert toy.judge(found) == toy.diagnose(function)
    assert "Your function printed: so" in toy.judge(found, "so").text


def test_plain_results_pass_the_guard_as_they_are():
    for value in (torch.ones(2), (1, [2.0, None]), {"a": torch.ones(1)}, torch.ones(2, 2).max(1)):
        assert core.only_plain(lambda value=value: value)() is value
    with pytest.raises(core.Foreign, match="a EqualToAll"):
        core.only_plain(lambda: (1, EqualToAll()))()
