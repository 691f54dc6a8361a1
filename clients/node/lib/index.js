// SPDX-License-Identifier: LGPL-2.1-or-later
export { Client } from "./client.js";
export { CallError, Code, ProtocolError, TopologyError, codeName } from "./errors.js";
export { Subscriber } from "./subscriber.js";
export { Topology } from "./topology.js";
export * from "../gen/messages.js";
