/** The roles through which AWS services act for themselves. An account that never used a service lacks its role. */
import { CfnDeletionPolicy } from 'aws-cdk-lib';
import * as iam from 'aws-cdk-lib/aws-iam';
import { Construct } from 'constructs';
import { InvalidInput } from './input.ts';

export const LINKED_SERVICES = ['ecs', 'elasticloadbalancing', 'rds', 'ecs.application-autoscaling'] as const;
export type LinkedService = (typeof LINKED_SERVICES)[number];

export interface ServiceLinkedRolesProps {
  /**
   * Whose roles to make: those that the account lacks. CloudFormation refuses to make one that exists.
   */
  readonly services: readonly LinkedService[];
}

/** Kept when the stack goes: such a role belongs to the account, and others may use it by then. */
export class ServiceLinkedRoles extends Construct {
  constructor(scope: Construct, id: string, props: ServiceLinkedRolesProps) {
    super(scope, id);
    for (const service of props.services) {
      if (!LINKED_SERVICES.includes(service))
        throw new InvalidInput(
          `serviceLinkedRoles has "${service}": name some of ${LINKED_SERVICES.join(', ')}, or say all or none`,
        );
      const role = new iam.CfnServiceLinkedRole(this, service, { awsServiceName: `${service}.amazonaws.com` });
      role.cfnOptions.deletionPolicy = role.cfnOptions.updateReplacePolicy = CfnDeletionPolicy.RETAIN;
    }
  }
}
