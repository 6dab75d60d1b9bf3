/** The customer's brake: one parameter that their own people write, and the control plane reads before each write. */
import * as ssm from 'aws-cdk-lib/aws-ssm';
import { Construct } from 'constructs';
import { MODES } from '../services/reconciler/aws/brake.ts';
import { checkPrefix } from './input.ts';

/** AWS keeps names that begin with `aws` or `ssm` to itself, which a prefix may do: so it comes second. */
export const brakeName = (prefix: string): string => `/brake/${prefix}`;

export interface BrakeProps {
  /** Names the parameter; at most 12 characters. */
  readonly prefix: string;
}

export class Brake extends Construct {
  readonly parameterName: string;

  constructor(scope: Construct, id: string, props: BrakeProps) {
    super(scope, id);
    checkPrefix(props.prefix);
    this.parameterName = brakeName(props.prefix);
    // CloudFormation compares templates, and writes nothing where they are the same: what the customer has set stays.
    // So never change any of these: with whatever changes, the value would be written, too, and a brake released.
    new ssm.CfnParameter(this, 'Parameter', {
      name: this.parameterName,
      type: 'String',
      value: 'run',
      allowedPattern: `^(${MODES.join('|')})$`,
      description: 'What the Freehold control plane may do here: run, read-only (change nothing), stopped (nothing)',
    });
  }
}
