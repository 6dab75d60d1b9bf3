import { Terminal } from '../aws/errors.ts';

/** CPU units (1024 = one CPU) and MB, as one of the pairs that Fargate has. */
export interface FargateSize {
  readonly cpu: number;
  readonly memoryMb: number;
}

/** ECS developer guide, "Task CPU and memory": for each CPU size the least, the most and the step of memory, in MB. */
const SIZES = [
  { cpu: 256, least: 512, most: 1024, step: 512 },
  { cpu: 256, least: 2048, most: 2048, step: 1024 },
  { cpu: 512, least: 1024, most: 4096, step: 1024 },
  { cpu: 1024, least: 2048, most: 8192, step: 1024 },
  { cpu: 2048, least: 4096, most: 16_384, step: 1024 },
  { cpu: 4096, least: 8192, most: 30_720, step: 1024 },
  { cpu: 8192, least: 16_384, most: 61_440, step: 4096 },
  { cpu: 16_384, least: 32_768, most: 122_880, step: 8192 },
] as const;

/**
 * The smallest task that a container of this size fits into. Fargate has no 1 CPU with 1 GB, and no 2 with 2.
 * @param cpus whole or part CPUs, as asked
 * @throws Terminal when it is more than Fargate has
 */
export function fargateSize(cpus: number, memoryMb: number): FargateSize {
  for (const { cpu, least, most, step } of SIZES) {
    if (cpu < cpus * 1024 || most < memoryMb) continue;
    return { cpu, memoryMb: least + Math.ceil(Math.max(0, memoryMb - least) / step) * step };
  }
  throw new Terminal(`larger than Fargate has: "${cpus} CPU, ${memoryMb} MB": ask for less`);
}
