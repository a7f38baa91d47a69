"""Which submissions are shown as pairs to look at."""

import random
import re

import pytest

from labkit.grading import similarity

STUB = '''@exercise("step")
def step(vae, optimizer, x, loss):
    """Encode, draw, decode, and one step of the optimizer: a number."""
    raise NotImplementedError  # write your own lines here
'''
MASTER = '''@exercise("step")
def step(vae, optimizer, x, loss):
    """Encode, draw, decode, and one step of the optimizer: a number."""
    ### BEGIN SOLUTION
    mu, log_var = vae.encode(x)
    value = loss(vae.decoder(draw(mu, log_var)), x, mu, log_var).mean()
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
    return value.item()
    ### END SOLUTION
'''
GIVEN = {"step": STUB + MASTER}
OWN = '''@exercise("step")
def step(vae, optimizer, x, loss):
    """Encode, draw, decode, and one step of the optimizer: a number."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None
    scale = 1.0 / x.shape[0]
    encoded = vae.encode(x.contiguous())
    total = torch.zeros(())
    for k in range(x.shape[0]):
        code = draw(encoded[0][k : k + 1], encoded[1][k : k + 1])
        total = total + loss(vae.decoder(code), x[k : k + 1], *encoded).sum()
    (scale * total).backward()
    optimizer.step()
    return float((scale * total).detach())
'''
OTHER = '''@exercise("step")
def step(vae, optimizer, x, loss):
    """Encode, draw, decode, and one step of the optimizer: a number."""
    optimizer.zero_grad(set_to_none=True)
    with torch.enable_grad():
        distribution = torch.distributions.Normal(*sigma_of(vae.encode(x)))
        per_image = loss(vae.decoder(distribution.rsample()), x, *vae.encode(x))
        mean = torch.mean(per_image, dim=0, keepdim=False)
    torch.autograd.backward([mean])
    optimizer.step(closure=None)
    return mean.cpu().numpy().tolist()
'''


def usual(generator):
    """An ordinary solution, put together from ordinary choices."""
    choose = generator.choice
    first = choose(["mu, log_var = vae.encode(x)", "m, s = vae.encode(x)"])
    mu, log_var = first.split(" = ")[0].split(", ")
    value = f"loss(vae.decoder(draw({mu}, {log_var})), x, {mu}, {log_var})"
    value = choose([f"value = {value}.mean()", f"value = torch.mean({value})"])
    last = choose(["return value.item()", "return float(value)", "return value.detach().item()"])
    rest = [value, "value.backward()", "optimizer.step()", last]
    lines = [first, *rest]
    lines.insert(choose([0, 2]), "optimizer.zero_grad()")
    return STUB.split("    raise")[0] + "".join(f"    {line}\n" for line in lines)


def class_of(n, **special):
    """Answers of n students who write the usual things, and of some others."""
    generator = random.Random(0)
    answers = {f"student{k:03}": {"step": usual(generator)} for k in range(n)}
    return answers | {name: {"step": code} for name, code in special.items()}


def renamed(code, generator):
    """The code with new names for its own variables, other numbers of blanks, and comments."""
    names = re.findall(r"^\s+(\w+) = ", code, re.M) + re.findall(r"for (\w+) in", code)
    for k, name in enumerate(sorted(set(names))):
        code = re.sub(rf"\b{name}\b", f"v{generator.randrange(100)}_{k}", code)
    code = code.replace("    total", "    # my own idea\n    total").replace(" / ", "  /  ")
    return re.sub(r'""".*"""', '"""Does a step."""', code)


def found(answers):
    return [tuple(pair[:2]) for pair in similarity.pairs(answers, GIVEN)]


@pytest.mark.parametrize("n", [2, 10, 40])
def test_a_copy_with_other_names_and_comments_is_found(n):
    copy = renamed(OWN, random.Random(1))
    assert copy != OWN and "total" not in copy
    assert found(class_of(n, a=OWN, b=copy)) == [("a", "b")]


def test_a_copy_with_independent_lines_in_another_order_is_found():
    lines = OWN.splitlines()
    k = next(k for k, line in enumerate(lines) if "scale =" in line)
    lines[k : k + 3] = lines[k + 2], lines[k], lines[k + 1]
    assert found(class_of(20, a=OWN, b="\n".join(lines))) == [("a", "b")]


def test_a_copy_inside_of_more_code_is_found():
    longer = OWN.replace(
        "    return", "    unused = [n * n for n in range(10) if n % 3]\n    return"
    )
    assert found(class_of(20, a=OWN, b=longer)) == [("a", "b")]


def test_a_copied_mistake_is_found_though_it_is_no_python():
    broken = OWN.replace("float((scale", "float(((scale")
    assert found(class_of(20, a=broken, b=broken.replace("total", "t"))) == [("a", "b")]


def test_two_different_solutions_are_no_pair():
    assert found(class_of(20, a=OWN, b=OTHER)) == []
    assert found({"a": {"step": OWN}, "b": {"step": OTHER}}) == []


@pytest.mark.parametrize("n", [30, 300])
def test_who_writes_the_usual_solution_is_in_no_pair(n):
    assert found(class_of(n)) == []


@pytest.mark.parametrize("code", [STUB, MASTER, renamed(MASTER, random.Random(2)), ""])
def test_what_was_handed_out_is_no_evidence(code):
    assert found({name: {"step": code} for name in "abc"}) == []


def test_short_answers_are_no_evidence():
    code = "def mean(x):\n    return x.flatten().cumsum(0)[-1] / x.numel()\n"
    answers = {name: {"mean": code} for name in "ab"}
    assert similarity.overlaps(answers, {})  # they do share something
    assert similarity.pairs(answers, {}) == []


def test_what_many_have_is_no_evidence():
    everybody = {f"s{k}": {"step": OWN} for k in range(10)}
    assert found(everybody) == []
    few = {f"s{k}": {"step": OWN if k < 3 else OTHER * (k == 3)} for k in range(10)}
    assert found(few) == [("s0", "s1"), ("s0", "s2"), ("s1", "s2")]


def test_one_copied_exercise_among_others_is_found_and_named():
    answers = class_of(20, a=OWN, b=renamed(OWN, random.Random(3)))
    answers["a"]["more"], answers["b"]["more"] = OTHER, OTHER.replace("torch.", "x.y.z(1)[0].")
    [(a, b, score, exercises)] = similarity.pairs(answers, GIVEN)
    assert (a, b, exercises) == ("a", "b", ("step",)) and score > 0.9


def test_the_order_of_students_changes_nothing():
    answers = class_of(30, b=OWN, a=renamed(OWN, random.Random(4)))
    turned = dict(reversed(answers.items()))
    assert similarity.overlaps(answers, GIVEN) == similarity.overlaps(turned, GIVEN)


def test_names_numbers_texts_comments_and_docstrings_are_alike():
    one = 'def f(a):\n    """Doc."""\n    b = a.sum(1) + 2.5  # why\n    return g("x", b)\n'
    other = "def h(q):\n    'No.'\n    # so\n    w = q.sum(3) + 1e-3\n\n    return k(r'yy', w)\n"
    assert similarity.tokens(one) == similarity.tokens(other)
    assert similarity.tokens(one) != similarity.tokens(one.replace(".sum", ".mean"))
    assert similarity.tokens('a = f"{b:.2f} and {c!r}"') == similarity.tokens("a = 'text'")


@pytest.mark.parametrize(
    "code",
    [
        "\0",
        "'",
        '"""',
        "(" * 5000,
        "-" * 50_000 + "1",
        "    x\n  y\n",
        "\ud800",
        "é = 1;" * 9,
        "$?!",
    ],
)
def test_whatever_was_handed_in_can_be_read(code):
    assert isinstance(similarity.tokens(code), list)
    similarity.overlaps({"a": {"x": code}, "b": {"x": code}}, {"x": code})


def test_a_window_gives_away_every_long_enough_match():
    generator = random.Random(5)
    length = similarity.K + similarity.WINDOW - 1
    for _ in range(50):
        middle = [f"m{generator.random()}" for _ in range(length)]
        texts = [
            [f"{side}{k}" for k in range(generator.randrange(20))] + middle + [side] * 3
            for side in "ab"
        ]
        one, other = (similarity.winnow(similarity.hashed(words)) for words in texts)
        assert one & other
