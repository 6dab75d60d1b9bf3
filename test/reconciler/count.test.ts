/** How many tasks a service is asked to have: by how many served last, and by the limits of what serves next. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ecsService, type EcsServiceInputs } from '../../services/reconciler/kinds/ecs-service.ts';

const settings = {
  subnets: [],
  securityGroups: [],
  minHealthy: 100,
  maxRunning: 200,
  targetGroup: null,
  graceSeconds: null,
};
const inputs = { taskDefinitionArn: 'wanted', ...settings } as unknown as EcsServiceInputs;

/** Of the service: what it runs, how many of it, and whether that is being rolled out. */
const serving = (taskDefinition: string, desiredCount: number, isRolling = false) => ({
  status: 'ACTIVE',
  gaveUp: false,
  isRolling,
  settings: { ...settings, taskDefinition, desiredCount },
});

/** Why, the limits, what is live, what there was when it last was ready, and how many are then asked for. */
const TABLE: [
  string,
  [min: number, max: number],
  ReturnType<typeof serving>,
  { count: number; min: number } | null,
  number,
][] = [
  ['it serves: what scaling chose stays', [1, 5], serving('wanted', 3), null, 3],
  ['it serves, and somebody has stopped it', [1, 5], serving('wanted', 0), null, 1],
  ['another is rolled out, with as many', [1, 5], serving('other', 3), { count: 3, min: 1 }, 3],
  ['another is rolled out, with more from the start', [4, 5], serving('other', 3), { count: 3, min: 1 }, 4],
  [
    'another is rolled out, which scaling enlarges meanwhile',
    [1, 5],
    serving('wanted', 4, true),
    { count: 3, min: 1 },
    4,
  ],
  [
    'a rollout of more has failed: none is spared until what served serves again',
    [1, 5],
    serving('other', 4),
    { count: 3, min: 1 },
    4,
  ],
  ['what served serves again', [1, 5], serving('wanted', 4), { count: 3, min: 1 }, 3],
  [
    'fewer suffice from now on, and there were as few as might be',
    [1, 5],
    serving('wanted', 3),
    { count: 3, min: 3 },
    1,
  ],
  ['fewer suffice, and scaling had chosen more than the fewest', [1, 5], serving('wanted', 4), { count: 4, min: 3 }, 4],
  ['fewer than there were are allowed', [1, 2], serving('wanted', 4), { count: 4, min: 1 }, 2],
];
for (const [why, [min, max], live, was, count] of TABLE)
  test(`how many tasks: ${why}`, () => {
    const out = was === null ? undefined : { arn: 'arn', name: 'name', ...was };
    const changes = ecsService.diff({ ...inputs, min, max }, { arn: 'arn', ...live }, out);
    const change = changes.find(({ field }) => field === 'desiredCount');
    assert.equal(change?.to ?? live.settings.desiredCount, count);
  });
