/**
 * Links the real worker with the simulation's store: the worker's imports of its neighbours are those of `simulation/`
 * where there is one of that name in `LINKED`. Imported before the worker is; all others get the real ones.
 */
import { existsSync } from 'node:fs';
import { registerHooks } from 'node:module';

const LINKED = /^\.\/(store\/.*|redact)\.ts$/;

registerHooks({
  resolve(specifier, context, next) {
    if (context.parentURL?.endsWith('/services/control-plane/worker.ts') && LINKED.test(specifier)) {
      const ours = new URL(specifier, import.meta.url);
      if (existsSync(ours)) return { url: ours.href, shortCircuit: true };
    }
    return next(specifier, context);
  },
});
