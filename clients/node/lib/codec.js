// SPDX-License-Identifier: LGPL-2.1-or-later
// Plain objects to and from protobuf's bytes: 64-bit numbers are bigint, `bytes` are Buffer.
//
// protobufjs reads the descriptors and the wire; the walk over a message is here because its own
// generated code gives Long objects, and takes misspelt fields without a word.

import protobuf from "protobufjs/light.js";

import { ProtocolError } from "./errors.js";

const { Enum, Reader, Writer, types } = protobuf;

// Messages that one body may hold: honest ones have far less, a hostile one costs little memory.
const ELEMENTS_MIN = 65536;
const BYTES_PER_ELEMENT = 8;
const DELIMITED = 2;
const MAX_U32 = 0xffffffff;

const INTEGERS = {
  int32: [-0x80000000, 0x7fffffff],
  sint32: [-0x80000000, 0x7fffffff],
  sfixed32: [-0x80000000, 0x7fffffff],
  uint32: [0, MAX_U32],
  fixed32: [0, MAX_U32],
};

const SIGNED_64 = new Set(["int64", "sint64", "sfixed64"]);
const is64 = (type) => type.endsWith("64");
const isMessage = (field) => field.resolvedType && !(field.resolvedType instanceof Enum);
const wireName = (field) => field.resolvedType instanceof Enum ? "int32" : field.type;

function complain(path, value, wanted) {
  const shown = typeof value === "bigint" ? `${value}n` : JSON.stringify(value);
  throw new TypeError(`${path} is ${shown}, not ${wanted}`);
}

// ---- writing ----

function long(value, path, type) {
  const isSigned = SIGNED_64.has(type);
  const big = typeof value === "number" && Number.isSafeInteger(value) ? BigInt(value) : value;
  if (typeof big !== "bigint") {
    complain(path, value, "a bigint, or an integer of at most 53 bits");
  }
  if (big !== (isSigned ? BigInt.asIntN(64, big) : BigInt.asUintN(64, big))) {
    complain(path, value, `an ${type}`);
  }
  return protobuf.util.Long.fromBits(Number(big & 0xffffffffn), Number((big >> 32n) & 0xffffffffn),
    !isSigned);
}

function scalar(value, path, type) {
  if (is64(type)) {
    return long(value, path, type);
  }
  if (type in INTEGERS) {
    const [min, max] = INTEGERS[type];
    if (!Number.isInteger(value) || value < min || value > max) {
      complain(path, value, `an integer of ${min} to ${max}`);
    }
    return value;
  }
  const wanted = { double: "number", float: "number", bool: "boolean", string: "string" }[type];
  if (wanted) {
    return typeof value === wanted ? value : complain(path, value, `a ${wanted}`);
  }
  return value instanceof Uint8Array ? value
    : complain(path, typeof value, "a Buffer or Uint8Array");
}

function enumNumber(value, path, type) {
  const number = typeof value === "string" ? type.values[value] : value;
  if (!Number.isInteger(number) || number < INTEGERS.int32[0] || number > INTEGERS.int32[1]) {
    complain(path, value, `one of ${Object.keys(type.values).join(", ")}`);
  }
  return number;
}

/** What the field holds as the writer wants it, and whether it is the default of proto3. */
function prepare(field, value, path) {
  if (field.resolvedType instanceof Enum) {
    const number = enumNumber(value, path, field.resolvedType);
    return { ready: number, isDefault: number === 0 };
  }
  const ready = scalar(value, path, field.type);
  if (typeof ready === "object") {
    return { ready, isDefault: is64(field.type) ? ready.isZero() : ready.length === 0 };
  }
  return { ready, isDefault: Object.is(ready, 0) || ready === "" || ready === false };
}

function writeRepeated(writer, field, values, path) {
  if (!Array.isArray(values)) {
    complain(path, values, "an array");
  }
  if (isMessage(field)) {
    values.forEach((value, i) => writeMessage(writer, field, value, `${path}[${i}]`));
    return;
  }
  const name = wireName(field);
  const isPacked = name in types.packed && values.length > 0;
  if (isPacked) {
    writer.uint32(field.id << 3 | DELIMITED).fork();
  }
  values.forEach((value, i) => {
    const { ready } = prepare(field, value, `${path}[${i}]`);
    if (!isPacked) {
      writer.uint32(field.id << 3 | types.basic[name]);
    }
    writer[name](ready);
  });
  if (isPacked) {
    writer.ldelim();
  }
}

function writeMessage(writer, field, value, path) {
  writer.uint32(field.id << 3 | DELIMITED).fork();
  write(writer, field.resolvedType, value, path);
  writer.ldelim();
}

function write(writer, type, object, path) {
  if (object === null || typeof object !== "object" || Array.isArray(object)) {
    complain(path, object, `an object with the fields of ${type.name}`);
  }
  const oneofs = new Map();
  for (const [name, value] of Object.entries(object)) {
    const field = Object.hasOwn(type.fields, name) ? type.fields[name] : undefined;
    const at = `${path}.${name}`;
    if (!field) {
      throw new TypeError(`${at}: ${type.name} has no such field, only ` +
        Object.keys(type.fields).join(", "));
    }
    if (value === undefined || value === null) {
      continue;
    }
    if (field.partOf) {
      if (oneofs.has(field.partOf)) {
        throw new TypeError(`${at}: ${oneofs.get(field.partOf)} is given already`);
      }
      oneofs.set(field.partOf, name);
    }
    if (field.repeated) {
      writeRepeated(writer, field, value, at);
    } else if (isMessage(field)) {
      writeMessage(writer, field, value, at);
    } else {
      const { ready, isDefault } = prepare(field, value, at);
      if (!isDefault || field.partOf) {
        const wire = wireName(field);
        writer.uint32(field.id << 3 | types.basic[wire])[wire](ready);
      }
    }
  }
}

/** The bytes of a message.  TypeError says which field is wrong. */
export function encode(type, object) {
  const writer = Writer.create();
  write(writer, type, object, type.name);
  return Buffer.from(writer.finish());
}

// ---- reading ----

function fromLong(value, isSigned) {
  const bits = BigInt(value.high >>> 0) << 32n | BigInt(value.low >>> 0);
  return isSigned ? BigInt.asIntN(64, bits) : bits;
}

function readScalar(reader, name) {
  const value = reader[name]();
  if (is64(name)) {
    return fromLong(value, SIGNED_64.has(name));
  }
  // A copy, so that a small value does not keep a large frame.
  return name === "bytes" ? Buffer.from(value) : value;
}

function defaultOf(field) {
  if (field.repeated) {
    return [];
  }
  if (is64(field.type)) {
    return 0n;
  }
  return { string: "", bool: false, bytes: Buffer.alloc(0) }[field.type] ?? 0;
}

function isAlwaysThere(field) {
  return field.repeated || !field.partOf && !isMessage(field);
}

function readRepeated(reader, field, wireType, into, budget) {
  const name = wireName(field);
  if (wireType === DELIMITED && name in types.packed) {
    const end = reader.uint32() + reader.pos;
    if (end > reader.len) {
      throw new RangeError("a packed field is longer than its message");
    }
    while (reader.pos < end) {
      into.push(readScalar(reader, name));
    }
    return;
  }
  spend(budget);
  into.push(readValue(reader, field, budget));
}

function spend(budget) {
  if (--budget.left < 0) {
    throw new RangeError("too many parts for its length");
  }
}

function readValue(reader, field, budget) {
  if (!isMessage(field)) {
    return readScalar(reader, wireName(field));
  }
  spend(budget);
  const length = reader.uint32();
  if (length > reader.len - reader.pos) {
    throw new RangeError("a field is longer than its message");
  }
  return read(reader, field.resolvedType, reader.pos + length, budget);
}

function isWireType(field, wireType) {
  const name = wireName(field);
  return wireType === (types.basic[name] ?? DELIMITED) ||
    field.repeated && wireType === DELIMITED && name in types.packed;
}

function read(reader, type, end, budget) {
  const object = {};
  for (const field of type.fieldsArray) {
    if (isAlwaysThere(field)) {
      object[field.name] = defaultOf(field);
    }
  }
  while (reader.pos < end) {
    const tag = reader.uint32();
    const wireType = tag & 7;
    const field = type.fieldsById[tag >>> 3];
    if (!field || !isWireType(field, wireType)) {
      reader.skipType(wireType);
    } else if (field.repeated) {
      readRepeated(reader, field, wireType, object[field.name], budget);
    } else {
      if (field.partOf) {
        field.partOf.fieldsArray.forEach((other) => delete object[other.name]);
      }
      object[field.name] = readValue(reader, field, budget);
    }
  }
  if (reader.pos !== end) {
    throw new RangeError("a field is longer than its message");
  }
  return object;
}

/** The message in these bytes, every field there except messages and oneof members not set. */
export function decode(type, bytes) {
  const budget = { left: ELEMENTS_MIN + Math.floor(bytes.length / BYTES_PER_ELEMENT) };
  try {
    return read(Reader.create(bytes), type, bytes.length, budget);
  } catch (error) {
    throw new ProtocolError(`bytes that are no ${type.name}: ${error.message}`, { cause: error });
  }
}
