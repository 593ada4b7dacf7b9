"""Makes docs/report.jpg: the demo's report as a headless Chromium shows it, under 500 KiB."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

from gradcam_hooks.apps.demo.show import show
from gradcam_hooks.images.files import write_whole

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "report.jpg"
MOST = 500 * 1024


def main() -> None:
    names = ("chromium", "chromium-browser", "google-chrome")
    browser = next((found for name in names if (found := shutil.which(name))), None)
    if browser is None:
        sys.exit(f"No browser: none of {', '.join(names)} is installed.")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        show(Path(folder))
        started = playwright.chromium.launch(
            executable_path=browser, args=["--headless", "--no-sandbox", "--disable-gpu"]
        )
        page = started.new_page(
            viewport={"width": 1240, "height": 860}, device_scale_factor=1.5, color_scheme="light"
        )
        page.goto((Path(folder) / "report.html").as_uri())
        page.wait_for_selector(".card.drawn")
        page.wait_for_timeout(500)  # until what fades in is there
        for quality in (90, 80, 70, 60):
            data = page.screenshot(type="jpeg", quality=quality)
            if len(data) < MOST:
                break
        started.close()
    if len(data) >= MOST:
        sys.exit(f"The picture takes {len(data):,} bytes, {MOST:,} are allowed.")
    with write_whole(PICTURE) as part:
        part.write_bytes(data)
    print(f"{PICTURE.relative_to(ROOT)}: {len(data):,} bytes")


if __name__ == "__main__":
    main()
