#!/usr/bin/env node
// SPDX-License-Identifier: LGPL-2.1-or-later
// Makes gen/ of the .proto files: descriptors for lib/codec.js, service stubs, and types of all.
//   node tools/generate.js [directory with xenmesh/v1/*.proto [directory to write]]

import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";

import protobuf from "protobufjs";

import { declarations } from "./declarations.js";

const HERE = path.dirname(fileURLToPath(import.meta.url));
const PACKAGE = "xenmesh.v1";
const OPTIONS_FILE = "options.proto"; // extends descriptor.proto; its options are read as text
const NOTICE = "// SPDX-License-Identifier: LGPL-2.1-or-later\n" +
  "// Made of the .proto files by tools/generate.js: do not edit.\n\n";

function parse(directory) {
  const root = new protobuf.Root();
  const files = fs.readdirSync(directory).filter((name) => name.endsWith(".proto")).sort();
  for (const name of files.filter((file) => file !== OPTIONS_FILE)) {
    const text = fs.readFileSync(path.join(directory, name), "utf8");
    protobuf.parse(text, root, { alternateCommentMode: true, preferTrailingComment: true });
  }
  root.resolveAll();
  return root;
}

const lowerFirst = (name) => name[0].toLowerCase() + name.slice(1);

function servicesOf(scope) {
  return scope.nestedArray.filter((entry) => entry instanceof protobuf.Service);
}

/** The module with the enums and the stubs. */
function code(scope) {
  let text = NOTICE + 'import { enumeration } from "../lib/messages.js";\n\n';
  for (const entry of scope.nestedArray.filter((found) => found instanceof protobuf.Enum)) {
    if (entry.name !== "Code") {
      text += `export const ${entry.name} = enumeration("${entry.name}");\n`;
    }
  }
  for (const service of servicesOf(scope)) {
    text += `\nexport class ${service.name} {\n  constructor(client) {\n` +
      "    this.client = client;\n  }\n";
    for (const method of service.methodsArray) {
      text += `\n  ${lowerFirst(method.name)}(request, options) {\n` +
        `    return this.client.call("${PACKAGE}.${service.name}/${method.name}", ` +
        "request, options);\n  }\n";
    }
    text += "}\n";
  }
  return text;
}

function main() {
  const protos = path.resolve(process.argv[2] ?? path.join(HERE, "../../../proto"));
  const target = path.resolve(process.argv[3] ?? path.join(HERE, "../gen"));
  const root = parse(path.join(protos, "xenmesh/v1"));
  const scope = root.lookup(PACKAGE);
  fs.mkdirSync(target, { recursive: true });
  const write = (name, text) => fs.writeFileSync(path.join(target, name), text);
  write("descriptors.json", JSON.stringify(root.toJSON({ keepComments: false })) + "\n");
  write("messages.js", code(scope));
  write("messages.d.ts", NOTICE + declarations(scope));
}

main();
