/** The control plane. Settings: services/control-plane/settings.ts. */
import { main } from '../services/control-plane/main.ts';

await main();
