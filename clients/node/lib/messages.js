// SPDX-License-Identifier: LGPL-2.1-or-later
// The messages and methods of xenmesh.v1, from the descriptors that tools/generate.js made.

import { createRequire } from "node:module";

import protobuf from "protobufjs/light.js";

const PACKAGE = "xenmesh.v1";

const require = createRequire(import.meta.url);
const root = protobuf.Root.fromJSON(require("../gen/descriptors.json"));
root.resolveAll();

/** The type of a message: "Call" is xenmesh.v1.Call. */
export function messageType(name) {
  return root.lookupType(`${PACKAGE}.${name}`);
}

/** Names to numbers and numbers to names. */
export function enumeration(name) {
  const { values } = root.lookupEnum(`${PACKAGE}.${name}`);
  const table = {};
  for (const [key, number] of Object.entries(values)) {
    table[key] = number;
    table[number] = key;
  }
  return Object.freeze(table);
}

const methods = new Map();
for (const service of root.lookup(PACKAGE).nestedArray) {
  if (service instanceof protobuf.Service) {
    for (const method of service.methodsArray) {
      const name = `${PACKAGE}.${service.name}/${method.name}`;
      methods.set(name, {
        name,
        input: method.resolvedRequestType,
        output: method.resolvedResponseType,
      });
    }
  }
}

/** A method by "Ops/StartVm" or "xenmesh.v1.Ops/StartVm". */
export function findMethod(name) {
  const method = methods.get(name) ?? methods.get(`${PACKAGE}.${name}`);
  if (!method) {
    throw new TypeError(`there is no method ${name}: callRaw() calls one that is newer than ` +
      "this client");
  }
  return method;
}
