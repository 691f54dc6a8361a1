// SPDX-License-Identifier: LGPL-2.1-or-later
import { CallError, Client, Code, Ops, Metrics, PowerState, Subscriber, Topology, codeName }
  from "xenmesh";
import type { Change, Task, VmState } from "xenmesh";

const where = Topology.load();
const client = new Client(where.rpc("ops"), { client: "types/1", traceparent: () => undefined });
const ops = new Ops(client);

export async function calls(signal: AbortSignal): Promise<Task> {
  const { vms } = await ops.listVms({ limit: 10 });
  const running: VmState[] = vms.filter((vm) => vm.powerState === PowerState.POWER_STATE_RUNNING);
  const memory: bigint = running[0].memoryKib;
  await ops.defineVm({ config: { name: "a", type: "VM_TYPE_PVH", memoryKib: 262144 },
    dryRun: true }, { timeoutMs: 1000 });
  await ops.defineVm({ config: { memoryKib: memory } });
  const { echo } = await client.call("Bus/Ping", { echo: Buffer.from("x") });
  const text: string = echo.toString();
  const { series } = await new Metrics(client).query({ owner: "host", startS: -600 });
  const values: number[] = series[0].values;
  const raw: Buffer = await client.callRaw("xenmesh.v1.Ops/New", Buffer.alloc(0), { signal });
  // @ts-expect-error the field is called name
  await ops.defineVm({ config: { nmae: "a" } });
  // @ts-expect-error no such type
  await ops.defineVm({ config: { type: "PVH" } });
  // @ts-expect-error config is absent for a VM of others
  running[0].config.name;
  console.log(text, values, raw);
  return client.call("Ops/StartVm", { vm: "a" }, { signal });
}

export function outcome(error: unknown): string {
  if (error instanceof CallError) {
    return error.code === Code.NOT_FOUND ? error.reason
      : `${codeName(error.code)} ${error.retriable} ${error.requestId.toString("hex")}`;
  }
  throw error;
}

export async function follow(): Promise<void> {
  const subscriber = new Subscriber(where.pub("ops"), where.rpc("ops"), ["vm/"]);
  subscriber.on("state", (change) => console.log(change.event.vmState?.name, change.replayed));
  subscriber.on("down", (change) => console.log(change.error.message));
  // @ts-expect-error no such change
  subscriber.on("vanished", () => {});
  for await (const change of subscriber) {
    const seq: bigint | undefined = "seq" in change ? change.seq : undefined;
    console.log(describe(change), seq);
  }
}

function describe(change: Change): string {
  switch (change.what) {
    case "state":
      return `${change.topic} ${change.event.task?.state}`;
    case "removed":
      return `${change.topic} ${change.event?.removed?.reason}`;
    case "down":
      return change.error.message;
    default:
      return change.what;
  }
}
