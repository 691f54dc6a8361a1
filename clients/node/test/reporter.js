// SPDX-License-Identifier: LGPL-2.1-or-later
// What tests/run reads: a line for each test, and at the end `N passed, N failed`.

const NOT_WANTED = "test name does not match pattern"; // --only of run.js

const isFile = (data) => /\.test\.js$/.test(data.name) || data.name === data.file;

function firstLine(error) {
  const cause = error?.cause ?? error;
  return String(cause?.message ?? cause).split("\n").filter(Boolean).join(" ");
}

export default async function* reporter(source) {
  let nPassed = 0;
  let nFailed = 0;
  let nSkipped = 0;
  for await (const { type, data } of source) {
    const skip = data?.skip;
    if (skip === NOT_WANTED) {
      continue;
    }
    if (type === "test:fail" && !(isFile(data) && data.details.error.failureType ===
        "subtestsFailed")) {
      nFailed++;
      yield `FAIL ${data.name.replaceAll(":", ",")}: ${firstLine(data.details.error)}\n` +
        `${data.details.error.cause?.stack ?? ""}\n`;
    } else if (type === "test:pass" && skip !== undefined) {
      nSkipped++;
      yield `skip ${data.name}: ${skip}\n`;
    } else if (type === "test:pass" && !isFile(data)) {
      nPassed++;
      yield `ok ${data.name.replaceAll(":", ",")}\n`;
    } else if (type === "test:stderr" || type === "test:stdout") {
      yield data.message;
    }
  }
  yield `${nPassed} passed, ${nFailed} failed${nSkipped ? `, ${nSkipped} skipped` : ""}\n`;
}
