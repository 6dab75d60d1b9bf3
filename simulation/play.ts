/** Plays a seed with the worker linked to the simulation's store. */
import './link.ts';

export const { play } = await import('./world.ts');
