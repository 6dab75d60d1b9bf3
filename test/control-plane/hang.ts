/** A process that takes a look, says which, and never ends it: to be killed. */
import { openDatabase } from '../../services/control-plane/store/database.ts';
import { Looks } from '../../services/control-plane/store/looks.ts';

const url = process.argv[2]!;
const db = openDatabase(url, { connections: 2, onError: () => {} });
const looks = await Looks.open(db, { url, heartbeatSeconds: 10, expireSeconds: 60, onError: () => {} });
await looks.work({ atOnce: 1 }, (look) => {
  process.stdout.write(look.deploymentId);
  return new Promise(() => {});
});
process.stdin.resume().on('end', () => process.exit());
