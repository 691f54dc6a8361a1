// SPDX-License-Identifier: LGPL-2.1-or-later
// TypeScript's view of the messages, enums and services.

import protobuf from "protobufjs";

const TYPES = { double: "number", float: "number", bool: "boolean", string: "string",
  bytes: "Buffer" };
const INPUT_TYPES = { ...TYPES, bytes: "Uint8Array" };

const COLUMNS = 98;

function comment(text, indent) {
  const words = (text ?? "").replace(/\*\//g, "* /").split(/\s+/).filter(Boolean);
  if (words.length === 0) {
    return "";
  }
  const oneLine = `${indent}/** ${words.join(" ")} */`;
  if (oneLine.length <= COLUMNS) {
    return oneLine + "\n";
  }
  const lines = [`${indent} *`];
  for (const word of words) {
    if (lines.at(-1).length + word.length >= COLUMNS) {
      lines.push(`${indent} *`);
    }
    lines[lines.length - 1] += ` ${word}`;
  }
  return `${indent}/**\n${lines.join("\n")}\n${indent} */\n`;
}

function typeOf(field, isInput) {
  let name;
  if (field.resolvedType instanceof protobuf.Enum) {
    name = isInput ? `${field.resolvedType.name} | keyof typeof ${field.resolvedType.name}`
      : field.resolvedType.name;
  } else if (field.resolvedType) {
    name = field.resolvedType.name + (isInput ? "Input" : "");
  } else if (field.type.endsWith("64")) {
    name = isInput ? "bigint | number" : "bigint";
  } else {
    name = (isInput ? INPUT_TYPES : TYPES)[field.type] ?? "number";
  }
  if (!field.repeated) {
    return name;
  }
  return name.includes(" ") ? `(${name})[]` : `${name}[]`;
}

function isOptional(field) {
  const isMessage = field.resolvedType instanceof protobuf.Type;
  return !field.repeated && (Boolean(field.partOf) || isMessage);
}

function message(type, isInput) {
  let text = comment(type.comment, "") +
    `export interface ${type.name}${isInput ? "Input" : ""} {\n`;
  for (const field of type.fieldsArray) {
    text += comment(field.comment, "  ") +
      `  ${field.name}${isInput || isOptional(field) ? "?" : ""}: ${typeOf(field, isInput)};\n`;
  }
  return text + "}\n\n";
}

// The codes have shorter names in lib/errors.js.
function enumeration(type) {
  if (type.name === "Code") {
    return "type Code = number;\ndeclare const Code: {\n" + Object.entries(type.values)
      .map(([name, number]) => `  readonly ${name}: ${number};\n`).join("") + "};\n\n";
  }
  let text = comment(type.comment, "") + `export declare const ${type.name}: {\n`;
  for (const [name, number] of Object.entries(type.values)) {
    text += comment(type.comments[name], "  ") + `  readonly ${name}: ${number};\n`;
  }
  return text + "  readonly [number: number]: string | undefined;\n};\n" +
    "/** A number of the list above, or one that a newer service knows. */\n" +
    `export type ${type.name} = number;\n\n`;
}

function service(entry) {
  let text = comment(entry.comment, "") + `export declare class ${entry.name} {\n` +
    "  constructor(client: Caller);\n";
  for (const method of entry.methodsArray) {
    const name = method.name[0].toLowerCase() + method.name.slice(1);
    const role = String(method.options?.["(role)"]).replace("ROLE_", "").toLowerCase();
    const note = [method.comment, `Least role: ${role}.`,
      method.options?.["(mutating)"] ? "Executed at most once per request id." : ""];
    text += comment(note.filter(Boolean).join(" "), "  ") +
      `  ${name}(request?: ${method.resolvedRequestType.name}Input, options?: CallOptions):\n` +
      `    Promise<${method.resolvedResponseType.name}>;\n`;
  }
  return text + "}\n\n";
}

/** Messages that a request can hold, itself included. */
function inputsOf(scope) {
  const found = new Set();
  const visit = (type) => {
    if (type instanceof protobuf.Type && !found.has(type)) {
      found.add(type);
      type.fieldsArray.forEach((field) => visit(field.resolvedType));
    }
  };
  for (const entry of scope.nestedArray.filter((each) => each instanceof protobuf.Service)) {
    entry.methodsArray.forEach((method) => visit(method.resolvedRequestType));
  }
  return found;
}

function methodTable(scope) {
  let text = "/** Input and output of each method, by the name that `Client.call` takes. */\n" +
    "export interface Methods {\n";
  for (const entry of scope.nestedArray.filter((each) => each instanceof protobuf.Service)) {
    for (const method of entry.methodsArray) {
      text += `  "${entry.name}/${method.name}": {\n` +
        `    input: ${method.resolvedRequestType.name}Input;\n` +
        `    output: ${method.resolvedResponseType.name};\n  };\n`;
    }
  }
  return text + "}\n";
}

/** The text of messages.d.ts. */
export function declarations(scope) {
  const inputs = inputsOf(scope);
  let text = 'import type { CallOptions } from "../lib/index.js";\n\n' +
    "/** Whoever can make calls: a Client. */\nexport interface Caller {\n" +
    "  call(method: string, request?: object, options?: CallOptions): Promise<any>;\n}\n\n";
  for (const entry of scope.nestedArray) {
    if (entry instanceof protobuf.Enum) {
      text += enumeration(entry);
    } else if (entry instanceof protobuf.Type) {
      text += message(entry, false) + (inputs.has(entry) ? message(entry, true) : "");
    } else if (entry instanceof protobuf.Service) {
      text += service(entry);
    }
  }
  return text + methodTable(scope);
}
