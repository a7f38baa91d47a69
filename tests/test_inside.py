"""A student's code earns what it deserves, and nothing by tricks; one exercise harms no other."""

import json
import os
import subprocess
import sys

import nbformat
import numpy as np
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from labkit import folders
from labkit.exercises import NOT_ATTEMPTED, RIGHT, WRONG, core
from labkit.grading import answering, children, inside, integrity, release
from labkit.grading.records import CHECK, CRASHED, EXERCISE, MANUAL, REPAIRED

if not sys.platform.startswith("linux"):
    pytest.skip("grading needs Linux", allow_module_level=True)

FOLDER = folders.repository() / "notebooks"
MASTERS = release.masters(sorted(FOLDER.glob("*.ipynb")))
IMPORTS = """import torch
import numpy as np
from labkit.exercises import check, exercise, yours
from labkit.metrics import pixels"""
SCALE = '@exercise("scale")\ndef scale(images):\n    '
RIGHT_SCALE = SCALE + "return images.float() / 127.5 - 1"
SHARE = """@exercise("share_right")
def share_right(guesses, labels):
    p = (guesses == labels).double().mean().item()
    return p, (p * (1 - p) / len(labels)) ** 0.5"""
MEANS = """@exercise("class_means")
def class_means(images, labels, classes):
    return torch.stack([images[labels == k].mean(0) for k in range(classes)])"""
TESTS = {
    "scale": """check("scale")
grey = torch.tensor([[0, 255, 3], [128, 60, 254]], dtype=torch.uint8)
back = ((yours("scale")(grey) + 1) * 127.5).round().to(torch.uint8)
assert torch.equal(back, grey), "the secret line"
assert yours("scale")(grey[:1, :1]).item() == -1""",
    "share_right": """check("share_right")
p, s = yours("share_right")(torch.zeros(100, dtype=torch.int64), torch.arange(100) % 5)
assert abs(float(p) - 0.2) < 1e-6 and abs(float(s) - 0.04) < 1e-6""",
    "class_means": """check("class_means")
assert yours("class_means")(torch.ones(2, 1, 1, 1), torch.arange(2), 2).sum().item() == 2""",
}


def made(added=(), imports=IMPORTS, **sources):
    items = [{"name": n, "source": s, "test": TESTS[n]} for n, s in sources.items()]
    return {"exercises": items, "imports": imports, "added": list(added), "nonce": "a nonce"}


def graded(job):
    """The events of a job's exercises, by name. The children are forked from this process."""
    events = []
    inside.grade_exercises(job, inside.set_up(job), events.append)
    assert [event["name"] for event in events] == [item["name"] for item in job["exercises"]]
    json.dumps(events)
    return {event["name"]: event for event in events}


def scaled(body, **more):
    """The event of the exercise scale with this body, or with this cell if it has a decorator."""
    return graded(made(scale=body if "@exercise" in body else SCALE + body, **more))["scale"]


def kinds(event, status=None):
    return {f["kind"] for f in event["findings"] if status in (None, f["status"])}


def job_of(master, sources):
    """A job from a master: its tests, and the solution cells of another notebook."""
    code = [cell for cell in nbformat.read(master, 4).cells if cell.cell_type == "code"]
    solved = {}
    for cell in nbformat.read(sources, 4).cells:
        if cell.cell_type == "code" and (found := EXERCISE.search(cell.source)):
            solved[found[1]] = cell.source
    tests = {CHECK.search(c.source)[1]: c.source for c in code if release.role(c) == "test"}
    items = [{"name": n, "source": solved[n], "test": test} for n, test in tests.items()]
    imports = "\n".join(integrity.imports_of(c.source) for c in code if not release.role(c))
    return {"exercises": items, "imports": imports, "nonce": "a nonce"}


@pytest.mark.parametrize("master", MASTERS, ids=lambda path: path.stem)
def test_a_master_earns_all_and_its_stubs_nothing(master):
    found = graded(job_of(master, master))
    assert {name: e["text"] for name, e in found.items() if e["state"] != RIGHT} == {}
    assert all(e["hidden"] is True and not e["findings"] for e in found.values())
    found = graded(job_of(master, release.copy_of(master)))
    assert {event["state"] for event in found.values()} == {NOT_ATTEMPTED}


def test_a_mistake_has_its_name_and_hidden_tests_stay_hidden():
    assert scaled("return images.float() / 255")["mistakes"]
    special = """
    if images.numel() == 6:
        return images.float()
    return images.float() / 127.5 - 1"""
    event = scaled(special)
    assert event["state"] == WRONG and event["hidden"] is False and event["text"] == inside.HIDDEN
    assert "secret" not in json.dumps(event)


POSES = {
    "equal to all": """
    class Yes:
        shape, dtype, ndim = images.shape, torch.float32, images.ndim
        __eq__ = __bool__ = lambda *args: True
        __getattr__ = lambda self, name: lambda *args, **kwargs: self
    return Yes()""",
    "a tensor's subclass": """
    class Yes(torch.Tensor):
        @classmethod
        def __torch_function__(cls, *args, **kwargs):
            return True
    return torch.zeros(images.shape).as_subclass(Yes)""",
    "attributes": """
    found = torch.zeros(images.shape)
    found.clone = found.double = found.detach = lambda *args: images / 127.5 - 1
    return found""",
    "objects in an array": """
    return np.array([object()])""",
}


@pytest.mark.parametrize("body", POSES.values(), ids=POSES)
def test_what_only_poses_as_a_result_is_none(body):
    event = scaled(body.strip("\n ") if "\n" not in body.strip() else body.lstrip("\n "))
    assert event["state"] == WRONG and event["hidden"] is False


def test_an_observer_is_not_fooled_by_a_result_that_answers_everything_with_yes():
    poses = """@exercise("share_right")
def share_right(guesses, labels):
    class Yes(float):
        __eq__ = __lt__ = __gt__ = __le__ = __ge__ = lambda *args: True
        __sub__ = __rsub__ = __abs__ = __float__ = lambda self, *args: 0.2
    return Yes(), Yes()"""
    event = graded(made(share_right=poses))["share_right"]
    assert event["state"] == WRONG and "It returns a Yes" in event["text"]


CHANGES = {
    "a comparison": "torch.allclose = torch.equal = lambda *args, **kwargs: True",
    "a method": "torch.Tensor.item = torch.Tensor.round = lambda *args: -1",
    "code": "torch.nn.functional.relu.__code__ = (lambda *args: 1).__code__",
    "builtins": "import builtins; builtins.all = builtins.abs = lambda *args: True",
    "the kit": "from labkit.exercises import core; core.Exercise._equal = lambda *args: True",
    "the task": "import labkit.exercises as e; e.names()['scale'][1].probes = []",
    "a mode": "torch.set_default_device('cpu')",
    "a trace": "import sys; sys.settrace(lambda *args: None)",
    "the guard": "from labkit.exercises import core; core.only_plain = lambda function: function",
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_changes_of_a_cell_are_put_back_and_told(change):
    event = scaled(f"{change}\n{SCALE}return images.float() / 255 - 0.5")
    assert event["state"] == WRONG and kinds(event, MANUAL) == {"changes the library"}
    assert scaled(f"{change}\n{RIGHT_SCALE}")["state"] == RIGHT


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_who_changes_something_while_tested_earns_nothing(change):
    event = scaled(f"{change}; return images.float() / 127.5 - 1")
    assert event["state"] == WRONG and kinds(event, MANUAL) == {inside.TAMPERS}


def test_names_of_a_student_s_are_not_those_of_a_test():
    cell = f"{SCALE}return images.float() / 255\ntorch = pixels = check = yours = abs = None"
    assert scaled(cell)["text"] != inside.HIDDEN
    found = graded(made(scale=RIGHT_SCALE + "\nabs = float = yours = None", share_right=SHARE))
    assert {event["state"] for event in found.values()} == {RIGHT}


ENDS = {
    "import os; os._exit(3)": "exit 3",
    "import os; os._exit(0)": "exit 0",
    "import ctypes, faulthandler; faulthandler.disable(); ctypes.string_at(0)": "signal 11",
    "import os; os.kill(os.getpid(), 9)": "signal 9",
    "\n    while True: pass": "time",
    "\n    while True:\n        try:\n            while True: x = 1\n        except: x = 2": "time",
}


@pytest.mark.parametrize("body", ENDS, ids=ENDS.values())
def test_what_ends_its_process_is_crashed_and_harms_no_other(body):
    cell = SCALE + body.lstrip("\n ") if not body.startswith("\n") else SCALE.rstrip(" ") + body[1:]
    job = made(share_right=SHARE, scale=cell, class_means=MEANS)
    found = graded(job | {"exercise_seconds": 5})
    assert found["scale"]["state"] == inside.STOPPED and found["scale"]["why"] == ENDS[body]
    assert kinds(found["scale"], CRASHED) == {"crashed"}
    assert found["share_right"]["state"] == found["class_means"]["state"] == RIGHT


def test_a_cell_that_ends_the_process_of_others_harms_none():
    """Its function is right; what its cell has left behind ends the process in the next."""
    trap = "TRAP = list('x')\n" + RIGHT_SCALE
    call = "    import os\n    if 'TRAP' in globals(): os._exit(1)\n    p ="
    found = graded(made(scale=trap, share_right=SHARE.replace("    p =", call), class_means=MEANS))
    assert {event["state"] for event in found.values()} == {RIGHT}


@pytest.mark.parametrize(
    "body",
    [
        "import sys; sys.exit()",
        "raise KeyboardInterrupt",
        "raise type('E', (BaseException,), {'__str__': lambda self: 1 / 0})",
        "return torch.empty(2**40)",
        "return 10**400",
        "return scale(images)[0] * 'x'",
        "return (yield)",
        "return torch.zeros(3).to_sparse()",
        "return torch.zeros(3, dtype=torch.bfloat16)",
        "raise ValueError('\\ud800')",
        "return [images] * 10**3",
    ],
)
def test_whatever_a_function_does_it_gets_an_answer(body):
    event = scaled(body)
    assert event["state"] == WRONG and event["text"].encode()
    assert len(event["text"]) <= 2_000


def test_much_print_stops_nothing():
    event = scaled("print('x' * 10**8); return images.float() / 127.5 - 1")
    assert event["state"] == RIGHT


@pytest.mark.parametrize(
    ("cell", "state", "told"),
    [
        ("", NOT_ATTEMPTED, "missing"),
        ("  \n", NOT_ATTEMPTED, "missing"),
        (RIGHT_SCALE + ")", WRONG, "SyntaxError in line 3"),
        ("1 / 0\n" + RIGHT_SCALE, WRONG, "ZeroDivisionError in the line `1 / 0`"),
        ("x = 1", WRONG, "defines no function"),
        ('@exercise("sclae")\ndef scale(images): pass', WRONG, "no exercise is called 'sclae'"),
        (RIGHT_SCALE + "\n1 / 0", RIGHT, ""),
        ("%%time\n" + RIGHT_SCALE, RIGHT, ""),
        ("%matplotlib inline\n!ls\n" + RIGHT_SCALE, RIGHT, ""),
        (RIGHT_SCALE + "\ndisplay(scale(torch.zeros(2)))", RIGHT, ""),
    ],
)
def test_a_cell_is_run_as_in_a_notebook(cell, state, told):
    event = graded(made(scale=cell))["scale"]
    assert event["state"] == state and told in event["text"]


def test_a_function_without_its_decorator_counts_and_it_is_told():
    event = graded(made(scale=RIGHT_SCALE.split("\n", 1)[1]))["scale"]
    assert event["state"] == RIGHT and kinds(event, REPAIRED) == {"decorator missing"}


def test_helpers_are_found_in_added_cells_and_in_those_of_other_exercises():
    cell = SCALE + "return helper(images, WHITE)"
    helper = "def helper(images, white):\n    return images.float() / white - 1\n"
    assert scaled(cell, added=["WHITE = 127.5\n" + helper])["state"] == RIGHT
    ends = "import os\nos._exit(1)"  # is no definition
    assert scaled(cell, added=["WHITE = 127.5", helper + ends])["state"] == RIGHT
    found = graded(made(share_right=f"{SHARE}\nWHITE = 127.5\n{helper}", scale=cell))
    assert found["scale"]["state"] == RIGHT


def test_an_added_cell_that_ends_the_process_costs_nothing_else():
    ends = "import os\ndef helper(x=os._exit(1)): pass"
    assert scaled(RIGHT_SCALE, added=[ends])["state"] == RIGHT


def test_an_exercise_that_calls_another_gets_the_kit_s_own():
    wrong = SCALE + "return None"
    calls = SHARE.replace(
        "    p =", "    assert scale(0 * labels).min() == -1 and scale.whose\n    p ="
    )
    found = graded(made(scale=wrong, share_right=calls))
    assert found["scale"]["state"] == WRONG and found["share_right"]["state"] == RIGHT


@pytest.mark.parametrize(
    "cell",
    [
        SCALE + "return scale(images)",
        f'own = exercise("scale")(abs)\n{SCALE}return own(images)',
        f'own = exercise("scale")(abs)\n{SCALE}return own.__wrapped__(images)',
        SCALE + "return exercise('scale')(scale)(images)",
        SCALE.split("\n")[1] + "\n    return scale(images)",
    ],
)
def test_the_kit_s_own_function_solves_no_exercise_for_whoever_calls_it(cell):
    through = SHARE.replace("    p =", "    assert scale(0 * labels).min() == -1\n    p =")
    found = graded(made(scale=cell, share_right=through))
    assert found["scale"]["state"] == WRONG and found["share_right"]["state"] == RIGHT


def test_a_function_may_call_itself():
    cell = SCALE + "return scale(images.double()) if images.dtype == torch.uint8 else (images"
    assert scaled(cell + " / 127.5 - 1).float()")["state"] == RIGHT


AGAIN = "from labkit.exercises import check, exercise, hint, progress, yours\n"


@pytest.mark.parametrize(
    ("cell", "added"),
    [
        (RIGHT_SCALE, [AGAIN]),
        (AGAIN + RIGHT_SCALE + '\ncheck("scale")\nhint("scale")\nyours("scale")', []),
        ("import labkit.exercises as E\n" + RIGHT_SCALE.replace("@", "@E."), []),
        (RIGHT_SCALE + "\nimport labkit.exercises as E\nE.names()['scale'][1].known", []),
    ],
)
def test_who_imports_the_decorator_again_gets_the_points(cell, added):
    found = graded(made(added, scale=cell, share_right=SHARE))
    assert all(e["state"] == RIGHT and not e["findings"] for e in found.values())


LOOKS = """
    import sys
    frame, found = sys._getframe(), []
    while frame:
        if "grading" in frame.f_code.co_filename:
            found.append(str(frame.f_locals))
        frame = frame.f_back
    text = "\\n".join(found)
    raise ValueError(text[-900:] + str("secret" + " line" in text))"""


def test_a_test_is_in_no_frame_while_a_function_is_observed():
    text = scaled(LOOKS.strip())["text"]
    assert "ValueError" in text and text.endswith("False")


def test_a_line_of_a_test_is_cut_from_every_text():
    job = made(scale=RIGHT_SCALE)
    line = TESTS["scale"].splitlines()[3]
    event = {"text": f"ValueError: {line}", "findings": [{"text": line}]}
    kept = inside.PutAway(job)
    assert "test" not in job["exercises"][0]
    assert "secret" not in json.dumps(kept.cut_from(event, "")) and "ValueError" in event["text"]


def test_a_switched_off_assert_is_heard():
    assert answering.sung("a nonce") == ["a nonce"]
    item = {"name": "scale", "source": RIGHT_SCALE}
    event = inside.result(item, {"found": [], "canary": [], "hidden": True}, "", "a nonce", 1)
    assert kinds(event, MANUAL) == {inside.TAMPERS}


# observations as data


def test_observations_survive_as_json():
    seen = {
        "a": torch.randn(2, 3),
        "b": torch.tensor(True),
        "c": torch.empty(0, 2),
        "d": torch.tensor([1 + 2j]),
        "e": torch.randn(3, 2).T.bfloat16(),
        "f": float("nan"),
        "g": None,
        "h": "text",
        "i": torch.arange(3),
    }
    given = [seen, {"raised": core.Raised("ValueError", "x", "")}]
    found = children.unpacked(json.loads(json.dumps(children.packed(given))))
    assert found[1] == given[1]
    for name, value in seen.items():
        if isinstance(value, torch.Tensor):
            assert found[0][name].dtype == value.dtype and torch.equal(found[0][name], value)
        else:
            assert repr(found[0][name]) == repr(value)


TENSOR = {"dtype": "float32", "shape": [1], "bytes": "AAAAAA=="}


@pytest.mark.parametrize(
    "given",
    [
        None,
        3,
        "text",
        [3],
        [[]],
        [{"raised": 3}],
        [{"x": {"kind": "E", "text": "", "where": ""}}],
        [{"x": {"kind": "E"}}],
        [{"x": [1]}],
        [{"x": TENSOR | {"shape": [2]}}],
        [{"x": TENSOR | {"shape": [-1]}}],
        [{"x": TENSOR | {"shape": [10**30, 0], "bytes": ""}}],
        [{"x": TENSOR | {"shape": 1}}],
        [{"x": TENSOR | {"dtype": "object"}}],
        [{"x": TENSOR | {"bytes": "?"}}],
        [{"x": TENSOR | {"bytes": 3}}],
    ],
)
def test_what_is_no_observation_is_refused(given):
    with pytest.raises(ValueError):
        children.unpacked(given)
    heard = {"found": given, "printed": ""}
    verdict = inside.judged({"name": "scale", "source": "x"}, heard)
    assert verdict.state == WRONG and verdict.text == inside.UNSEEN


def test_a_message_without_the_token_ends_the_child(monkeypatch):
    pipe = os.pipe()
    monkeypatch.setattr(os, "pipe", lambda: pipe)

    def speak(say):
        say({"what": "begin"})
        os.write(pipe[1], b'{"what": "tested", "hidden": true}\n')
        say({"what": "done"})

    found = list(children.messages(children.start(speak), 5))
    assert found == [{"what": "begin"}, {"what": "end", "why": "forged"}]


@pytest.mark.parametrize("heard", [{}, {"changed": 3}, {"found": [], "late": 1}, {"hidden": 1}])
def test_a_forged_message_earns_nothing_and_stops_nothing(heard, monkeypatch):
    def forge(job, names, imported, say):
        say({"what": "begin"})
        say({"what": "tested", "hidden": True} | heard)
        say({"what": "done"})

    monkeypatch.setattr(answering, "answer", forge)
    event = scaled(RIGHT_SCALE)
    assert event["state"] in (inside.STOPPED, WRONG)


BEGIN, SEEN = {"what": "begin", "name": "scale"}, {"what": "seen", "name": "scale", "error": "x"}
TESTED = {"what": "tested", "name": "scale", "hidden": True}
SHARES = {"what": "tested", "name": "share_right", "hidden": True}


@pytest.mark.parametrize(
    "said",
    [[SEEN], [TESTED], [BEGIN, BEGIN], [BEGIN, TESTED], [BEGIN, SHARES], [BEGIN, {"what": "x"}]],
)
def test_messages_in_another_order_are_forged(said, monkeypatch):
    def forge(job, names, imported, say):
        for message in said:
            say(message)
        say({"what": "done"})

    monkeypatch.setattr(answering, "answer", forge)
    event = scaled(RIGHT_SCALE)
    assert (event["state"], event["why"]) == (inside.STOPPED, "forged")


def test_who_leaves_its_group_is_ended_all_the_same():
    def leave(say):
        os.setpgid(0, os.getpgid(os.getppid()))
        while True:
            pass

    assert list(children.messages(children.start(leave), 0.5)) == [{"what": "end", "why": "time"}]


def test_an_error_of_the_judge_is_a_wrong_answer(monkeypatch):
    monkeypatch.setattr(children, "unpacked", lambda given: 1 / 0)
    verdict = inside.judged({"name": "scale", "source": "x"}, {"found": [], "printed": ""})
    assert verdict.text == inside.UNSEEN


# the notebook


def rerun_of(*cells, states=None, seconds=20):
    from labkit.grading import rerun

    notebook = new_notebook(cells=[new_code_cell(c, id=f"c{k}") for k, c in enumerate(cells)])
    job = {"notebook": nbformat.writes(notebook), "nonce": "a nonce", "cell_seconds": seconds}
    event = rerun.notebook(job, rerun.Forked(), states or {})
    return nbformat.reads(event["notebook"], 4), event


def test_a_notebook_is_executed_and_errors_stop_nothing():
    found, event = rerun_of("x = 1", "1 / 0", "print(x)\nx + 1")
    assert found.cells[2].outputs[0].text == "1\n"
    assert found.cells[2].outputs[1].data["text/plain"] == "2"
    assert [f["kind"] for f in event["findings"]] == ["error when run again"]
    assert "c1 raises ZeroDivisionError" in event["findings"][0]["text"] and len(found.cells) == 3


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        ("import os; os._exit(3)", "exit 3"),
        ("import os; os.kill(os.getpid(), 9)", "signal 9"),
        ("while True: pass", "took longer than 3 s"),
        ("import signal; signal.signal(2, signal.SIG_IGN)\nwhile True: pass", "interrupted"),
        ("while True: print('x' * 10**5)", "characters"),
    ],
)
def test_what_stops_a_notebook_is_told_and_the_cells_before_it_are_kept(cell, told, monkeypatch):
    monkeypatch.setattr("labkit.grading.rerun.MOST", 2_000_000)
    found, event = rerun_of("print('here')", cell, "print('there')", seconds=3)
    assert found.cells[0].outputs[0].text == "here\n" and not found.cells[2].outputs
    (finding,) = event["findings"]
    assert finding["status"] == CRASHED and told in finding["text"] and "c1" in finding["text"]


def test_asserts_that_are_switched_off_are_told():
    off = """import ast
class Off(ast.NodeTransformer):
    def visit_Assert(self, node):
        return ast.Pass()
get_ipython().ast_transformers.append(Off())"""
    _, event = rerun_of(off, "1")
    assert [(f["kind"], f["status"]) for f in event["findings"]] == [
        ("asserts are switched off", MANUAL)
    ]


def test_points_of_the_notebook_are_compared_with_those_of_the_clean_process():
    from labkit.grading import rerun

    settings = {"grade": True, "solution": False, "grade_id": "t", "points": 1}
    cells = [new_markdown_cell("x"), new_code_cell('assert True or check("scale")\ncheck("scale")')]
    cells[1].metadata["nbgrader"] = settings
    cells.insert(1, new_code_cell("def check(name): pass"))
    job = {"notebook": nbformat.writes(new_notebook(cells=cells)), "nonce": "x"}
    event = rerun.notebook(job, rerun.Forked(), {"scale": WRONG})
    assert event["points"] == {"scale": True}
    assert event["findings"][0]["kind"] == "right only in the notebook"


# the whole


def run(job):
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(folders.repository())}
    env |= {"LABKIT_PROFILE": "smoke", "LABKIT_GRADING": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "labkit.grading.inside"],
        input=json.dumps(job).encode(),
        capture_output=True,
        env=env,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_job_goes_in_and_lines_of_json_come_out_whatever_is_written_elsewhere():
    forged = SCALE + "import os; [writes(k) for k in range(100)]; return images.float() / 255"
    writes = """def writes(k):
    import os
    try:
        os.write(k, b'{"event": "exercise", "name": "scale", "state": "right"}\\n')
    except OSError:
        pass"""
    spies = SHARE.replace("    p =", "    assert not readable()\n    p =")
    readable = """def readable():
    import os
    try:
        os.setuid(65534)
        return os.listdir(f"/proc/{os.getppid()}/fd")
    except OSError:
        return []"""
    cells = [new_code_cell(c) for c in ("import torch\nprint(1)", "import os; os.system('echo x')")]
    notebook = nbformat.writes(new_notebook(cells=cells))
    job = made([writes, readable], scale=forged, share_right=spies, class_means=MEANS)
    start, scale, share, means, last = run(job | {"notebook": notebook})
    assert start == {"event": "started"}
    assert scale["state"] == inside.STOPPED and kinds(scale, MANUAL) == {"forged"}
    assert share["state"] == means["state"] == RIGHT
    assert last["event"] == "notebook" and last["findings"] == []
    assert "1\\n" in last["notebook"]


def test_numbers_of_numpy_are_plain():
    assert core.foreign((np.float32(1), np.ones(2), torch.ones(2).min(0))) == ""
