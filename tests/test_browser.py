"""A real JupyterLab in Chromium: panels follow the keys, fit a phone, and outlive their kernel; a
student solves an exercise.

Screenshots are kept in build/browser/. Nothing outside of this machine is reached: requests to
other hosts are refused.
"""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

playwright = pytest.importorskip(
    "playwright.sync_api", reason="no playwright: pip install -r tests/requirements.txt"
)
pytest.importorskip(
    "jupyterlab", reason="JupyterLab is not installed: pip install -r requirements.txt"
)

ROOT = Path(__file__).resolve().parents[1]
SCREENSHOTS = ROOT / "build" / "browser"
LABS = [ROOT / "notebooks" / "03_vae_latent_grid.ipynb"]  # live, latent_plane and scrubber
STUDENT_COPY = ROOT / "notebooks" / "student" / "03_vae_latent_grid.ipynb"
START, RUN = 60, 240  # seconds for JupyterLab to start, for a notebook to run in profile smoke
SETTINGS = {  # cells out of sight stay in the page, with their widgets
    "@jupyterlab/notebook-extension/tracker": {"windowingMode": "none"},
    "@jupyterlab/apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
}
CONTENT = "jupyterapp.shell.currentWidget.content"
PANELS = """
import torch
from labkit import latent, widgets
from labkit.widgets import canvas

decode = lambda z: z.sigmoid().prod(1).view(-1, 1, 1, 1).expand(-1, 1, 28, 28)
classifier = lambda images: images.float().mean((1, 2, 3))[:, None] * torch.linspace(0, 0.1, 10)
greys = [torch.full((1, 28, 28), 60 * k, dtype=torch.uint8) for k in range(5)]
widgets.scrubber([canvas.png(canvas.enlarge(grey)) for grey in greys], list("01248"))
# cut
ends = {"here": torch.tensor([-2.0, 0.5]), "there": torch.tensor([2.0, 1.0])}
widgets.walk(decode, ends, classifier, image_range=(0, 1))
# cut
widgets.latent_plane(decode, torch.randn(500, 2), torch.arange(500) % 10, classifier)
# cut
draw = lambda z, y: (z[:, :1] + y[:, None]).sigmoid()[..., None, None].expand(-1, 1, 28, 28)
styles = torch.tensor([[-2.0, 0.5], [2.0, 1.0], [0.0, 3.0]])
widgets.same_style({"one": (draw, styles)}, list("0123456789"), classifier)
# cut
colours = lambda z: z[:, :3].sigmoid()[..., None, None].expand(-1, 3, 64, 64)
axes = latent.principal_axes(torch.randn(100, 4) * torch.tensor([4.0, 3.0, 2.0, 1.0]))
widgets.directions(colours, axes, {"grey": torch.zeros(4)}, count=1)
# cut
bright = lambda x, mask: torch.ones(x.shape)
widgets.completeness(torch.zeros(1, 3, 64, 64, dtype=torch.uint8), {"bright": bright})
# cut
from labkit.data.arithmetic import Glyphs

pictures = torch.zeros(13, 1, 28, 28, dtype=torch.uint8)
bank = Glyphs(pictures, torch.arange(13), torch.ones(13).long())
widgets.handwritten(lambda images: torch.zeros(1, 3, 13), bank)
# cut
from labkit.models import LSTM

widgets.palindrome_gates(LSTM(10, 8, 10), "1232")
"""
OUTSIDE = """panels => panels.map(panel => {
    const room = panel.closest('.jp-OutputArea').getBoundingClientRect().right
    const parts = [...panel.querySelectorAll('*')].map(part => part.getBoundingClientRect().right)
    return Math.max(...parts) - room
})"""
TRACKS = """tracks => tracks.map(track => {
    const { width, height } = track.getBoundingClientRect()
    return Math.max(width, height)
})"""


@pytest.fixture(scope="module")
def browser():
    """Chromium: the system's, else the one that `playwright install chromium` fetched."""
    found = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    with playwright.sync_playwright() as p:
        try:
            chromium = p.chromium.launch(
                executable_path=found, args=["--no-sandbox"]
            )  # root, as in a container, has no sandbox
        except playwright.Error as error:
            pytest.skip(
                "no Chromium starts here: apt-get install chromium, or playwright install chromium"
                f" ({str(error).splitlines()[0]})"
            )
        yield chromium
        chromium.close()


@pytest.fixture
def jupyterlab(tmp_path):
    """(URL, token, folder) of a JupyterLab that serves `folder`, ended with its kernels."""
    (tmp_path / "notebooks").mkdir()
    for plugin, setting in SETTINGS.items():
        path = tmp_path / "settings" / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(setting))
    folders = ("CONFIG", "DATA", "RUNTIME")
    own = {f"JUPYTER_{name}_DIR": str(tmp_path / name.lower()) for name in folders}
    own |= {
        "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "workspaces"),
        "LABKIT_PROFILE": "smoke",
        "LABKIT_RESULTS": str(tmp_path / "results"),
        "PYTHONPATH": str(ROOT),
    }
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += ["--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"]
    command += [f"--IdentityProvider.token={token}"]
    command += [f"--ServerApp.root_dir={tmp_path / 'notebooks'}"]
    command += ["--LabApp.expose_app_in_browser=True", "--LabApp.news_url="]
    command += ["--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]
    log = (tmp_path / "jupyterlab.log").open("w+")
    server = subprocess.Popen(
        command, env=os.environ | own, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
    )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for_server(f"{url}/api?token={token}", server, Path(log.name))
        yield url, token, tmp_path / "notebooks"
    finally:
        server.terminate()  # it shuts its kernels down
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
        log.close()


def wait_for_server(url: str, server: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + START
    while server.poll() is None and time.monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start within {START} s:\n{log.read_text()[-2000:]}")


@pytest.fixture
def page(browser, jupyterlab):
    """A page that reaches JupyterLab alone."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    context.route(
        lambda url: not url.startswith((jupyterlab[0], "data:", "blob:")),
        lambda route: route.abort(),
    )
    yield context.new_page()
    context.close()


def run_all_cells(page, jupyterlab, name: str) -> None:
    """Open the notebook `name` and run it to its end."""
    url, token, _ = jupyterlab
    page.goto(f"{url}/lab/tree/{name}?token={token}&reset")
    idle = "jupyterapp.shell.currentWidget.sessionContext.session.kernel.status === 'idle'"
    page.wait_for_function(
        f"() => {{ try {{ return {idle} }} catch {{ return false }} }}", timeout=1000 * START
    )
    page.evaluate(
        "() => { window.done = false; jupyterapp.commands.execute('notebook:run-all-cells')"
        ".finally(() => { window.done = true }) }"
    )
    page.wait_for_function("() => window.done", timeout=1000 * RUN)


def errors(page) -> list[str]:
    """Error outputs of the notebook that is open."""
    notebook = json.loads(page.evaluate(f"() => JSON.stringify({CONTENT}.model.toJSON())"))
    outputs = [output for cell in notebook["cells"] for output in cell.get("outputs", [])]
    assert outputs, "the notebook has no outputs: its cells did not run"
    return [
        f"{output['ename']}: {output['evalue']}"
        for output in outputs
        if output["output_type"] == "error"
    ]


def press_and_see(page, panel, key: str) -> None:
    """Press an arrow key on the panel's last slider: the picture and the sentence change."""
    image, handle = panel.locator("img").first, panel.locator(".noUi-handle").last
    handle.scroll_into_view_if_needed()
    # a picture in the page counts only once it is decoded
    page.wait_for_function(
        "image => image.complete && image.naturalWidth > 0", arg=image.element_handle()
    )
    picture, source = image.screenshot(), image.get_attribute("src")
    sentence = panel.get_by_role("status").inner_text()
    handle.focus()
    page.keyboard.press(key)
    changed = (
        "([image, source]) => image.src !== source && image.complete && image.naturalWidth > 0"
    )
    page.wait_for_function(changed, arg=[image.element_handle(), source], timeout=15_000)
    assert image.screenshot() != picture
    assert not sentence or panel.get_by_role("status").inner_text() != sentence


def open_panels(page, jupyterlab) -> None:
    """Run a notebook of one small panel of every kind."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [new_code_cell(code) for code in PANELS.split("# cut\n")]
    made = new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(made, jupyterlab[2] / "panels.ipynb")
    run_all_cells(page, jupyterlab, "panels.ipynb")
    assert errors(page) == []
    page.locator(".labkit-panel").nth(7).wait_for(timeout=15_000)


@pytest.mark.parametrize("lab", [None, *LABS], ids=lambda lab: lab.stem if lab else "panels")
def test_sliders_follow_the_arrow_keys(page, jupyterlab, lab):
    if lab:
        shutil.copy(lab, jupyterlab[2])  # JupyterLab saves what it opens
        run_all_cells(page, jupyterlab, lab.name)
    else:
        open_panels(page, jupyterlab)
    assert errors(page) == []
    panels = page.locator(".labkit-panel:has(.noUi-handle)")
    panels.first.wait_for(timeout=15_000)
    assert panels.count() >= (6 if lab is None else 3)
    for k in range(panels.count()):
        for key in ("ArrowLeft", "ArrowRight"):
            press_and_see(page, panels.nth(k), key)
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        name = lab.stem if lab else "panels"
        panels.nth(k).screenshot(path=SCREENSHOTS / f"{name}_{k}.png")
    assert errors(page) == []


def test_panels_fit_a_phone_and_a_laptop(page, jupyterlab):
    open_panels(page, jupyterlab)
    for width in (1280, 390):
        page.set_viewport_size({"width": width, "height": 900})
        if width == 390:
            page.evaluate("() => jupyterapp.shell.collapseLeft()")
        page.wait_for_timeout(500)
        panels = page.locator(".labkit-panel")
        assert max(panels.evaluate_all(OUTSIDE)) <= 0
        assert min(panels.locator(".slider-container").evaluate_all(TRACKS)) >= 160
        assert not page.locator("text=javascript error").count()


def test_an_error_dims_the_picture_and_half_a_query_is_not_scolded(page, jupyterlab):
    open_panels(page, jupyterlab)
    panel = page.locator(".labkit-handwritten")
    query, said = panel.get_by_role("textbox").first, panel.get_by_role("status")
    for typed, opacity, amber in (("14+", 0.35, False), ("14+x", 0.35, True), ("14+2", 1, False)):
        query.fill(typed)
        query.press("Enter")
        page.wait_for_timeout(700)
        look = "part => getComputedStyle(part).{}"
        assert float(panel.locator("img").first.evaluate(look.format("opacity"))) == opacity
        ground = said.evaluate(look.format("backgroundColor"))
        assert (ground == "rgb(255, 231, 176)") == amber, ground


def test_a_still_is_hidden_while_its_panel_lives_and_outlives_the_kernel(page, jupyterlab):
    open_panels(page, jupyterlab)
    stills = page.locator("[class^=labkit-still]")
    assert stills.count() == 8 and not any(part.is_visible() for part in stills.all())
    current = "jupyterapp.shell.currentWidget"
    page.evaluate(
        f"async () => {{ await {current}.context.save();"
        f" await {current}.sessionContext.shutdown() }}"
    )
    page.goto(f"{jupyterlab[0]}/lab/tree/panels.ipynb?token={jupyterlab[1]}&reset")
    page.get_by_text("model not found").first.wait_for(timeout=60_000)
    assert all(part.is_visible() for part in stills.all()) and stills.count() == 8
    assert stills.first.locator(".picture").bounding_box()["height"] > 100
    assert "run this cell" in stills.first.inner_text()
    page.screenshot(path=SCREENSHOTS / "stills.png")


def cell_at(page, index: int):
    """A cell of the notebook that is open, scrolled into view."""
    cell = page.locator(".jp-Notebook .jp-Cell").nth(index)
    cell.scroll_into_view_if_needed()
    return cell


def write_and_run(page, index: int, source: str) -> str:
    """Type `source` in the place of a cell, run it, and return what then stands below it."""
    before = page.evaluate(f"() => {CONTENT}.model.cells.get({index}).executionCount")
    cell_at(page, index).locator(".cm-content").click()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(source)
    page.keyboard.press("Control+Enter")
    count = f"{CONTENT}.model.cells.get({index}).executionCount"
    done = f"count => {count} !== null && {count} !== count"
    page.wait_for_function(done, arg=before, timeout=30_000)
    assert page.evaluate(f"() => {CONTENT}.model.cells.get({index}).sharedModel.source") == source
    return shown(page, index)


def shown(page, index: int) -> str:
    page.wait_for_timeout(300)  # what a kernel sends after its answer
    return cell_at(page, index).locator(".jp-OutputArea").inner_text()


def loss(per_image: str) -> str:
    """An answer to the exercise `negative_elbo`."""
    return f"""@exercise("negative_elbo")
def negative_elbo(logits, x, mu, log_var, beta=1.0):
    pixels = F.binary_cross_entropy_with_logits(logits, x, reduction="none").flatten(1)
    return pixels.{per_image}(1) + beta * kl_divergence(mu, log_var)"""


@pytest.mark.skipif(not STUDENT_COPY.is_file(), reason="python -m labkit release 03 makes it")
def test_a_student_errs_takes_a_hint_and_sees_their_function_at_work(page, jupyterlab):
    """The mistake by name, a hint, the right answer, and the own loss in the cell that trains."""
    copy = nbformat.read(STUDENT_COPY, 4)
    code = [cell.source if cell.cell_type == "code" else "" for cell in copy.cells]
    trains = next(k for k, source in enumerate(code) if "loss=negative_elbo" in source)
    answer = next(k for k, source in enumerate(code) if '@exercise("negative_elbo")' in source)
    copy.cells = copy.cells[: trains + 1]
    nbformat.write(copy, jupyterlab[2] / "lab.ipynb")
    run_all_cells(page, jupyterlab, "lab.ipynb")
    assert errors(page) == []
    assert "not written yet" in shown(page, answer)
    assert "▸ the kit's negative_elbo at work (not written yet)" in shown(page, trains)

    wrong = write_and_run(page, answer, loss("mean"))
    assert "✘ negative_elbo" in wrong and "pixel" in wrong and "should be" not in wrong, wrong
    page.keyboard.press("Escape")
    page.keyboard.press("b")  # a new cell below
    page.keyboard.press("Enter")
    told = write_and_run(page, answer + 1, 'hint("negative_elbo")')
    assert "Hint 1 of" in told
    right = write_and_run(page, answer, loss("sum"))
    assert "✔ negative_elbo: right." in right
    write_and_run(page, trains + 1, copy.cells[trains].source)
    assert "▸ your negative_elbo at work" in shown(page, trains + 1)
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    cell_at(page, answer)
    page.screenshot(path=SCREENSHOTS / "student.png")
    assert errors(page) == []


QUIZ = """
import torch
from labkit import widgets

images = torch.randint(256, (3, 1, 28, 28), dtype=torch.uint8)
names = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag"]
right = torch.tensor([1, 1, 0])
widgets.Quiz(images, right, [*names, "Ankle boot"], {"1-NN": torch.tensor([1, 2, 0])})
"""


def test_a_quiz_is_answered_with_the_keyboard(page, jupyterlab):
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    made = new_notebook(cells=[new_code_cell(QUIZ)], metadata={"kernelspec": kernel})
    nbformat.write(made, jupyterlab[2] / "quiz.ipynb")
    run_all_cells(page, jupyterlab, "quiz.ipynb")
    assert errors(page) == []
    panel = page.locator(".labkit-quiz")
    panel.get_by_role("button", name="T-shirt/top").focus()
    page.keyboard.press("Tab")  # to Trouser
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    panel.screenshot(path=SCREENSHOTS / "quiz_0.png")
    for asked in ("2 of 3", "3 of 3", "Right of 3: you 2, 1-NN 2"):
        page.keyboard.press("Enter")
        page.wait_for_function(
            "([panel, text]) => panel.querySelector('[role=status]').innerText.includes(text)",
            arg=[panel.element_handle(), asked],
            timeout=15_000,
        )
    panel.get_by_role("button", name="Start again").wait_for()
    panel.screenshot(path=SCREENSHOTS / "quiz_1.png")
