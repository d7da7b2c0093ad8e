// A browser without a window that does what it is told: program of Chromium. Each line on stdin is a step, a JSON list
// of its name and its arguments; the reply is one line of JSON, {value} or {error}.
const fs = require("fs");
const readline = require("readline");
const puppeteer = require("puppeteer-core");

const TIMEOUT = { timeout: 30000 };

const steps = {
  goto: async (page, url) => (await page.goto(url, TIMEOUT))?.status() ?? null,
  // a locator waits until the element stays where it is, and begins again if it is replaced
  click: async (page, selector) => page.locator(selector).setTimeout(TIMEOUT.timeout).click(),
  type: async (page, selector, text) => (await page.waitForSelector(selector, TIMEOUT)).type(text),
  choose: async (page, selector, value) => void (await page.select(selector, value)),
  press: async (page, key) => page.keyboard.press(key),
  // wait until the text of an element contains a text
  see: async (page, selector, text) =>
    void (await page.waitForFunction(
      (where, what) => [...document.querySelectorAll(where)].some((one) => one.textContent.includes(what)),
      TIMEOUT, selector, text,
    )),
  // submit a form twice at the same moment, as a double click does
  twice: async (page, selector) => page.$eval(selector, (form) => { form.requestSubmit(); form.requestSubmit(); }),
  text: async (page, selector) => page.$eval(selector, (one) => one.textContent),
  focused: async (page) => page.evaluate(() => document.activeElement.outerHTML.slice(0, 200)),
  // the width of the line around the element that has the focus, in pixels
  outline: async (page) => page.evaluate(() => {
    const style = getComputedStyle(document.activeElement);
    return style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth);
  }),
  count: async (page, selector) => (await page.$$(selector)).length,
  // how many elements take up room
  visible: async (page, selector) => page.$$eval(selector, (found) => found.filter((one) => one.getClientRects().length).length),
  // whether an element is in the window, and nothing covers its middle
  shown: async (page, selector) => page.$eval(selector, (one) => {
    const { left, right, top, bottom } = one.getBoundingClientRect();
    const found = document.elementFromPoint((Math.max(left, 0) + Math.min(right, innerWidth)) / 2, (top + bottom) / 2);
    return top >= 0 && bottom <= innerHeight && left < innerWidth && right > 0 && one.contains(found);
  }),
  // send JSON as the page does, and return the status
  post: async (page, path, body) => page.evaluate(async (where, what) => {
    const headers = { "x-utcp-console": "1", "content-type": "application/json" };
    return (await fetch(where, { method: "POST", headers, body: JSON.stringify(what) })).status;
  }, path, body),
  url: async (page) => page.url(),
  cookies: async (page) => page.browserContext().cookies(),
  overflow: async (page) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth),
  size: async (page, width, height) => page.setViewport({ width, height }),
  scheme: async (page, value) => page.emulateMediaFeatures([{ name: "prefers-color-scheme", value }]),
  shot: async (page, path, whole) => void (await page.screenshot({ path, fullPage: whole })),
  // what axe-core finds: the rule, and the elements that break it
  axe: async (page) => {
    await page.evaluate(fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf-8"));
    const found = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
    return found.violations.map((one) => [one.id, one.nodes.map((node) => node.html)]);
  },
  // wait until another tab contains a text, go back to this one, and return the address of the other
  tab: async (page, text) => {
    const found = await page.browser().waitForTarget(async (target) => {
      const other = target.type() === "page" && (await target.page());
      if (!other || other === page) return false;
      return (await other.evaluate(() => document.body?.innerText ?? "").catch(() => "")).includes(text);
    }, TIMEOUT);
    await page.bringToFront(); // a tab behind another draws nothing, and `see` waits for what is drawn
    return found.url();
  },
  // keep requests for an address with a text back, until `release`
  hold: async (page, part) => {
    await page.setRequestInterception(true);
    page.on("request", (request) => (request.url().includes(part) ? held.push(request) : request.continue()));
  },
  release: async () => Promise.all(held.splice(0).map((request) => request.continue())),
  dialogs: async () => dialogs,
  complaints: async () => complaints,
};
const dialogs = [];
const complaints = [];
const held = [];

(async () => {
  const options = { executablePath: process.argv[2], headless: true, args: ["--no-sandbox", "--disable-gpu"] };
  const browser = await puppeteer.launch(options);
  const page = await browser.newPage();
  page.on("dialog", (dialog) => { dialogs.push(dialog.message()); dialog.dismiss(); });
  page.on("console", (message) => { if (message.type() === "error") complaints.push(message.text()); });
  page.on("pageerror", (error) => complaints.push(String(error)));
  for await (const line of readline.createInterface({ input: process.stdin })) {
    const [name, ...rest] = JSON.parse(line);
    let reply;
    try {
      reply = { value: (await steps[name](page, ...rest)) ?? null };
    } catch (error) {
      reply = { error: `${name} ${JSON.stringify(rest)}: ${error.message}` };
    }
    process.stdout.write(`${JSON.stringify(reply)}\n`);
  }
  await browser.close();
})();
