"""A headless Chromium on the playground of a server, and what tests do with it."""

import shutil

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from tests.conditions import wait_for

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--window-size=1400,1000",
)  # fmt: skip
#: What is missing, or None: Debian's packages chromium and chromium-driver.
MISSING = next((name for name in ("chromium", "chromedriver") if shutil.which(name) is None), None)


class Browser:
    """One browser with a profile of its own.

    Args:
        profile: an empty folder.
    """

    def __init__(self, profile):
        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for flag in (*FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        service = webdriver.ChromeService(shutil.which("chromedriver"))
        self.driver = webdriver.Chrome(options, service)
        self.run = self.driver.execute_script

    def close(self):
        self.driver.quit()

    def open(self, url):
        """The page, once it knows what the server offers."""
        self.driver.get(url)
        wait_for(
            lambda: self.run("return document.querySelectorAll('#operation option').length"), 20, "the page"
        )

    def one(self, selector):
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def texts(self, selector):
        """Text of every element, hidden ones too."""
        return self.run(
            "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)", selector
        )

    def count(self, selector):
        return self.run("return document.querySelectorAll(arguments[0]).length", selector)

    def log(self):
        """What the console got since the last call: faults, and everything that the policy forbids."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def view(self):
        """What of the picture is in view."""
        return self.run("return document.querySelector('#stage svg').getAttribute('viewBox')")

    def status(self):
        return self.one("#status").text

    def choose(self, path):
        Select(self.one("#operation")).select_by_value(path)

    def give(self, file):
        self.one("#file").send_keys(str(file))
        wait_for(lambda: file.name in self.one("#file-name").text, what="the file is taken")

    def ended(self, timeout=60):
        """The status once the request has ended."""
        return wait_for(lambda: self.one("#run").text == "Run" and self.status(), timeout, "an answer")

    def ask(self, path, file):
        """Run a route on a file; the status in the end."""
        self.choose(path)
        self.give(file)
        self.one("#run").click()
        return self.ended()

    def tab(self, name):
        """Choose a view of the result."""
        self.one(f"#tab-{name}").click()

    def press(self, *keys):
        """Keys for whatever has the focus."""
        webdriver.ActionChains(self.driver, duration=0).send_keys(*keys).perform()

    def tab_to(self, selector, most=60):
        """Press the Tab key until an element has the focus."""
        target = self.one(selector)
        for _ in range(most):
            if self.driver.switch_to.active_element == target:
                return target
            self.press(Keys.TAB)
        raise AssertionError(f"the Tab key does not reach {selector}")

    def width(self, pixels, height=800):
        """Make the window so wide, as on a phone; 0 ends that."""
        size = {"width": pixels, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
