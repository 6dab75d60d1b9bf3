/** The control plane. Settings: services/control-plane/settings.ts. */
import { main } from '../services/control-plane/main.ts';
import { optionsOf } from './options.ts';

optionsOf(
  'npx node bin/control-plane.ts\n  No options: its settings are environment variables, listed in docs/control-plane.md',
  {},
);
await main();
