import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fargateSize } from '../../services/reconciler/kinds/fargate.ts';

const cases: { cpus: number; memoryMb: number; size: [number, number] | undefined; reason: string }[] = [
  { cpus: 1, memoryMb: 1024, size: [1024, 2048], reason: 'Fargate has no 1 CPU with 1 GB: Development' },
  { cpus: 2, memoryMb: 2048, size: [2048, 4096], reason: 'nor 2 with 2: Production' },
  { cpus: 0.25, memoryMb: 512, size: [256, 512], reason: 'the smallest' },
  { cpus: 0.1, memoryMb: 100, size: [256, 512], reason: 'less than the smallest' },
  { cpus: 0.25, memoryMb: 513, size: [256, 1024], reason: 'the smallest CPU goes 512, 1024, 2048' },
  { cpus: 0.25, memoryMb: 1025, size: [256, 2048], reason: 'there is no 1536' },
  {
    cpus: 0.25,
    memoryMb: 2049,
    size: [512, 3072],
    reason: 'more memory than the CPU size can have takes the next CPU size',
  },
  { cpus: 0.5, memoryMb: 512, size: [512, 1024], reason: 'least memory of the size' },
  { cpus: 0.3, memoryMb: 512, size: [512, 1024], reason: 'CPUs are rounded up too' },
  { cpus: 1, memoryMb: 2500, size: [1024, 3072], reason: 'whole GB' },
  { cpus: 1, memoryMb: 8193, size: [2048, 9216], reason: 'above the most of 1 CPU' },
  { cpus: 4, memoryMb: 30_720, size: [4096, 30_720], reason: 'exactly the most' },
  { cpus: 8, memoryMb: 17_000, size: [8192, 20_480], reason: 'steps of 4 GB at 8 CPUs' },
  { cpus: 16, memoryMb: 33_000, size: [16_384, 40_960], reason: 'steps of 8 GB at 16 CPUs' },
  { cpus: 16, memoryMb: 122_880, size: [16_384, 122_880], reason: 'the largest' },
  { cpus: 16, memoryMb: 122_881, size: undefined, reason: 'too much memory' },
  { cpus: 17, memoryMb: 1024, size: undefined, reason: 'too many CPUs' },
];

for (const { cpus, memoryMb, size, reason } of cases) {
  test(`${cpus} CPU, ${memoryMb} MB: ${reason}`, () => {
    if (size === undefined)
      assert.throws(() => fargateSize(cpus, memoryMb), /^Error: larger than Fargate has: ".*": ask/);
    else assert.deepEqual(fargateSize(cpus, memoryMb), { cpu: size[0], memoryMb: size[1] });
  });
}

test('nothing is rounded down, and what Fargate has is left as it is', () => {
  for (let cpus = 0.25; cpus <= 16; cpus += 0.25) {
    for (let memoryMb = 256; memoryMb <= 122_880; memoryMb += 1024) {
      const size = fargateSize(cpus, memoryMb);
      assert.ok(size.cpu >= cpus * 1024 && size.memoryMb >= memoryMb);
      assert.deepEqual(fargateSize(size.cpu / 1024, size.memoryMb), size);
    }
  }
});
