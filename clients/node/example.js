// SPDX-License-Identifier: LGPL-2.1-or-later
// Lists the VMs, pauses the one that is named, and waits until its event says so.
import { CallError, Client, Ops, PowerState, Subscriber, Topology } from "xenmesh";

const [name] = process.argv.slice(2);
const word = (vm) => PowerState[vm.powerState].replace("POWER_STATE_", "").toLowerCase();

const where = Topology.load();
const client = new Client(where.rpc("ops"), { client: "example/1" });
const ops = new Ops(client);

for (const vm of (await ops.listVms()).vms) {
  console.log(vm.name.padEnd(20), word(vm).padEnd(8), `${vm.memoryKib / 1024n} MiB`);
}

try {
  const task = await ops.pauseVm({ vm: name }, { timeoutMs: 10000 });
  const { error } = await ops.waitTask({ id: task.id });
  console.log(`PauseVm ${name}: ${error?.message ?? "done"}`);
} catch (error) {
  console.log(error instanceof CallError ? `${error.codeName}: ${error.reason}` : error);
  process.exit(1);
}

for await (const change of new Subscriber(where.pub("ops"), where.rpc("ops"), ["vm/"])) {
  const vm = change.event?.vmState;
  if (vm?.name === name && vm.powerState === PowerState.POWER_STATE_PAUSED) {
    console.log(`${name} is ${word(vm)}`);
    break;
  }
}
