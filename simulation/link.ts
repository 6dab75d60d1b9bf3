/**
 * Links the real worker with the simulation's store: the worker's imports of `./store/<file>` are those of
 * `simulation/store/` where there is one of that name. Imported before the worker is; all others get the real ones.
 */
import { existsSync } from 'node:fs';
import { registerHooks } from 'node:module';

registerHooks({
  resolve(specifier, context, next) {
    if (context.parentURL?.endsWith('/services/control-plane/worker.ts') && specifier.startsWith('./store/')) {
      const ours = new URL(specifier, import.meta.url);
      if (existsSync(ours)) return { url: ours.href, shortCircuit: true };
    }
    return next(specifier, context);
  },
});
