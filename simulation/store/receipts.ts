/** As `observed.ts`, for receipts. */
import type * as real from '../../services/control-plane/store/receipts.ts';
import type { ProcessStore } from '../process.ts';

export * from '../../services/control-plane/store/receipts.ts';

export const beginReceipt: typeof real.beginReceipt = (db, deploymentId) =>
  (db as unknown as ProcessStore).beginReceipt(deploymentId);
