// SPDX-License-Identifier: LGPL-2.1-or-later
// Where the services are: docs/protocol.md, section 1.  Sections and keys of newer versions, and
// those that concern services only, are ignored.

import { X509Certificate } from "node:crypto";
import fs from "node:fs";
import path from "node:path";

import { TopologyError } from "./errors.js";

const DEFAULT_PATH = "/etc/xenmesh/topology.conf";
const DEFAULT_SERVICES = ["ops", "metrics", "agent-bridge"];
const RUN_DIR = "/run/xenmesh";
const FILE_BYTES_MAX = 1 << 20;
const SERVICE = /^(?:[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\/)?[A-Za-z0-9_-]{1,64}$/; // "ops", "HOST/ops"
const NOT_OWNER = 0o077;

/** [{section, key, value, where}] of one file; a mistake is an error with file and line. */
function readIni(file) {
  let text;
  try {
    if (fs.statSync(file).size > FILE_BYTES_MAX) {
      throw new TopologyError(`${file}: longer than ${FILE_BYTES_MAX} bytes`);
    }
    text = fs.readFileSync(file, "utf8").replace(/^\ufeff/, "");
  } catch (error) {
    if (error instanceof TopologyError) {
      throw error;
    }
    throw new TopologyError(`${file}: cannot be read: ${error.message}`, { cause: error });
  }
  const settings = [];
  let section = "";
  text.split("\n").forEach((raw, i) => {
    const line = raw.trim();
    const where = `${file}:${i + 1}`;
    if (line === "" || line[0] === "#" || line[0] === ";") {
      return;
    }
    const plain = line.replace(/\s;.*$/, "").trim();
    const header = /^\[([^\]]*)\]$/.exec(plain);
    const pair = /^([^=[]+)=(.*)$/.exec(plain);
    if (header) {
      section = header[1].trim();
    } else if (pair) {
      settings.push({ section, key: pair[1].trim(), value: pair[2].trim(), where });
    } else {
      throw new TopologyError(`${where}: neither [section] nor key = value`);
    }
  });
  return settings;
}

/** Files of the directory FILE.d, for FILE.conf, in the order of their bytes. */
function dropIns(file) {
  const directory = file.replace(/\.conf$/, "") + ".d";
  let names;
  try {
    names = fs.readdirSync(directory);
  } catch (error) {
    if (error.code === "ENOENT" || error.code === "ENOTDIR") {
      return [];
    }
    throw new TopologyError(`${directory}: cannot be read: ${error.message}`, { cause: error });
  }
  return names.filter((name) => name.endsWith(".conf") && !name.startsWith("."))
    .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    .map((name) => path.join(directory, name));
}

function readPem(file, what) {
  try {
    return fs.readFileSync(file);
  } catch (error) {
    throw new TopologyError(`[tls] ${what} ${file}: cannot be read: ${error.message}`,
      { cause: error });
  }
}

function checkCertificate(pem, file) {
  let certificate;
  try {
    certificate = new X509Certificate(pem);
  } catch (error) {
    throw new TopologyError(`[tls] cert ${file}: no certificate: ${error.message}`,
      { cause: error });
  }
  if (Date.parse(certificate.validTo) < Date.now()) {
    throw new TopologyError(`[tls] cert ${file}: expired on ${certificate.validTo}: ` +
      "issue another one");
  }
}

export class Topology {
  #services = new Map();
  #tls = new Map();

  constructor() {
    this.runDir = RUN_DIR;
    this.origin = "(defaults)";
    for (const name of DEFAULT_SERVICES) {
      this.#services.set(name, {
        pub: { value: `ipc://@run@/${name}/pub`, where: this.origin },
        rpc: { value: `ipc://@run@/${name}/rpc`, where: this.origin },
      });
    }
  }

  static load(file) {
    const topology = new Topology();
    const named = file ?? process.env.XENMESH_TOPOLOGY;
    const main = named || DEFAULT_PATH;
    const files = dropIns(main);
    if (named || fs.existsSync(main)) {
      files.unshift(main);
    }
    for (const each of files) {
      readIni(each).forEach((setting) => topology.#set(setting));
      topology.origin = main;
    }
    return topology;
  }

  #set({ section, key, value, where }) {
    const [kind, name = ""] = section.split(/\s+(.*)/s);
    if (section === "bus" && key === "run_dir") {
      if (!value.startsWith("/")) {
        throw new TopologyError(`${where}: run_dir must be an absolute path`);
      }
      this.runDir = value;
    } else if (section === "tls") {
      this.#tls.set(key, { value, where });
    } else if (kind === "service" && (key === "pub" || key === "rpc")) {
      this.#setUrl(name, key, value, where);
    } else if (kind === "host" && /\.(pub|rpc)$/.test(key)) {
      const service = key.slice(0, -4);
      this.#setUrl(`${name}/${service}`, key.slice(-3), value, where);
    }
  }

  #setUrl(service, kind, value, where) {
    if (!SERVICE.test(service)) {
      throw new TopologyError(`${where}: ${service} is no name of a service`);
    }
    const entry = this.#services.get(service) ?? {};
    this.#services.set(service, { ...entry, [kind]: { value, where } });
  }

  get services() {
    return [...this.#services.keys()];
  }

  pub(service) {
    return this.#endpoint(service, "pub");
  }

  rpc(service) {
    return this.#endpoint(service, "rpc");
  }

  #endpoint(service, kind) {
    const found = this.#services.get(service)?.[kind];
    const first = found?.value.split(/\s+/)[0];
    if (!first) {
      throw new TopologyError(`${this.origin} has no ${kind} of a service ${service}, only of ` +
        this.services.join(", "));
    }
    const url = first.replaceAll("@run@", this.runDir);
    if (!url.startsWith("tls+tcp://")) {
      return { url };
    }
    this.#readTls(url);
    return { url, tls: () => this.#readTls(url) };
  }

  #readTls(url) {
    const file = (key) => {
      const value = this.#tls.get(key)?.value;
      if (!value) {
        throw new TopologyError(`${url} needs ca, cert and key in section [tls] of ${this.origin}`);
      }
      return value;
    };
    const [ca, cert, key] = ["ca", "cert", "key"].map((name) => readPem(file(name), name));
    checkCertificate(cert, file("cert"));
    if (fs.statSync(file("key")).mode & NOT_OWNER) {
      throw new TopologyError(`[tls] key ${file("key")}: others than its owner may use it: ` +
        "chmod 600");
    }
    const crl = this.#tls.get("crl")?.value;
    return { ca, cert, key, ...(crl ? { crl: readPem(crl, "crl") } : {}) };
  }
}
