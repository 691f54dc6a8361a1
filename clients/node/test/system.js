// SPDX-License-Identifier: LGPL-2.1-or-later
// Real services on a simulated host, in a temporary directory: as tests/system/harness.py.

import { spawn } from "node:child_process";
import { once } from "node:events";
import fs from "node:fs";
import net from "node:net";
import path from "node:path";

import { Client, Topology } from "../lib/index.js";
import { directoryOf, until } from "./peers.js";

/** Directory of the programs, from test/run.js. */
export const BIN = process.env.XENMESH_BIN;

export const NO_PROGRAMS = BIN && fs.existsSync(path.join(BIN, "xenmesh-ops")) ? false
  : "no programs: run make, then `node test/run.js --bin DIRECTORY`";

/** A TCP port that was free just now. */
export async function freePort() {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

class Process {
  constructor(name, args, env, logFile) {
    Object.assign(this, { name, args, env, logFile });
  }

  start() {
    const log = fs.openSync(this.logFile, "a");
    this.child = spawn(path.join(BIN, `xenmesh-${this.name}`), this.args,
      { env: this.env, stdio: ["ignore", log, log] });
    fs.closeSync(log);
    this.ended = once(this.child, "exit");
  }

  async kill(signal) {
    if (this.child.exitCode === null && this.child.signalCode === null) {
      this.child.kill(signal);
      await this.ended;
    }
  }
}

export class System {
  /** more: text for the topology. */
  constructor(t, { vms = 2, more = "", services = ["simhost", "ops"] } = {}) {
    this.directory = directoryOf(t);
    fs.chmodSync(this.directory, 0o755);
    for (const name of ["bus", "ops-state", "metrics-state"]) {
      fs.mkdirSync(path.join(this.directory, name));
    }
    this.file = path.join(this.directory, "topology.conf");
    fs.writeFileSync(this.file, `[bus]\nrun_dir = ${this.directory}/bus\n${more}`);
    const inside = (name) => path.join(this.directory, name);
    const env = { ...process.env, XENMESH_TOPOLOGY: this.file,
      XENSTORED_PATH: inside("host/run/socket") };
    const args = {
      simhost: ["--state-dir", inside("host"), "--link", inside("link"), "--vms", String(vms),
        "--boot-ms", "100"],
      ops: ["--state-dir", inside("ops-state"), "--host-link", inside("link")],
      "agent-bridge": [],
    };
    this.services = new Map(services.map((name) => [name,
      new Process(name, args[name], env, inside(`${name}.log`))]));
    t.after(() => this.#end(t));
  }

  async start() {
    for (const [name, service] of this.services) {
      service.start();
      if (name !== "simhost") {
        await this.answers(name);
      }
    }
    if (this.services.has("ops")) {
      await this.knowsHost();
    }
    return this;
  }

  get where() {
    return Topology.load(this.file);
  }

  async answers(name) {
    const client = new Client(this.where.rpc(name));
    try {
      await client.call("Bus/Ping", {}, { timeoutMs: 20000 });
    } catch (error) {
      throw new Error(`${name} does not answer: ${error.message}\n${this.log(name)}`);
    } finally {
      client.close();
    }
  }

  /** Before that ops cannot tell the state of a VM. */
  async knowsHost() {
    const client = new Client(this.where.rpc("ops"));
    try {
      await until(async () => (await client.call("Ops/GetHost")).state?.connected,
        "ops has its host process");
    } finally {
      client.close();
    }
  }

  log(name) {
    const { logFile } = this.services.get(name);
    return fs.existsSync(logFile)
      ? fs.readFileSync(logFile, "utf8").split("\n").slice(-20).join("\n") : "";
  }

  async #end() {
    for (const service of [...this.services.values()].reverse()) {
      if (service.child) {
        const timer = setTimeout(() => service.child.kill("SIGKILL"), 10000);
        await service.kill("SIGTERM");
        clearTimeout(timer);
      }
    }
  }
}
