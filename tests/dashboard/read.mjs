// What the dashboard says of several services at first sight: the text of its verdicts and of what is wrong, and a picture of each.
//
//     node read.mjs FOLDER NAME URL [NAME URL]...      FOLDER holds node_modules with playwright-core, and takes the pictures
//
// Prints a JSON list of the texts, in order.
import { mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [home, ...named] = process.argv.slice(2), { chromium } = createRequire(`${home}/`)("playwright-core"), pictures = join(home, "pictures");
mkdirSync(pictures, { recursive: true });
const chrome = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"] });
const texts = [];
for (let place = 0; place < named.length; place += 2) {
  const page = await (await chrome.newContext({ viewport: { width: 1280, height: 900 } })).newPage();
  await page.goto(named[place + 1]);
  await page.waitForFunction(() => globalThis.candela?.data.status && document.getElementById("link").textContent === "Live", undefined, { timeout: 20_000 });
  await page.waitForTimeout(500); // a frame in which what came is drawn
  await page.screenshot({ path: join(pictures, `fault_${named[place]}.png`) });
  texts.push(await page.locator("#verdict").innerText());
  await page.close();
}
await chrome.close();
console.log(JSON.stringify(texts));
