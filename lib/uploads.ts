/** Where archives of source code arrive, for a few days: put there by whoever deploys, through URLs that are signed. */
import { RemovalPolicy, Stack, Validations } from 'aws-cdk-lib';
import * as s3 from 'aws-cdk-lib/aws-s3';
import { Construct } from 'constructs';
import { checkPrefix } from './input.ts';

/** What is not built from by then, is uploaded again. */
const DAYS = 3;

export interface UploadsProps {
  /** Begins the bucket's name; at most 12 characters. */
  readonly prefix: string;
}

/** The names of buckets are the whole world's. */
export function uploadBucketName(scope: Construct, prefix: string): string {
  const { account, region } = Stack.of(scope);
  return `${prefix}-uploads-${account}-${region}`;
}

export class Uploads extends Construct {
  readonly bucketName: string;

  constructor(scope: Construct, id: string, props: UploadsProps) {
    super(scope, id);
    checkPrefix(props.prefix);
    const bucket = new s3.CfnBucket(this, 'Bucket', {
      bucketName: uploadBucketName(this, props.prefix),
      publicAccessBlockConfiguration: {
        blockPublicAcls: true,
        blockPublicPolicy: true,
        ignorePublicAcls: true,
        restrictPublicBuckets: true,
      },
      ownershipControls: { rules: [{ objectOwnership: 'BucketOwnerEnforced' }] },
      bucketEncryption: {
        serverSideEncryptionConfiguration: [{ serverSideEncryptionByDefault: { sseAlgorithm: 'AES256' } }],
      },
      lifecycleConfiguration: {
        rules: [
          {
            status: 'Enabled',
            expirationInDays: DAYS,
            abortIncompleteMultipartUpload: { daysAfterInitiation: 1 },
          },
        ],
      },
    });
    // CloudFormation deletes an empty bucket only: a stack that is removed before its deployments says so.
    bucket.applyRemovalPolicy(RemovalPolicy.DESTROY);
    Validations.of(bucket).acknowledge({
      id: 'AwsSolutions-S1',
      reason:
        'Access logs need a second bucket, which nothing would empty. Every upload URL is asked for under a session ' +
        'of its own, which CloudTrail shows, and what is uploaded is gone after days.',
    });
    this.bucketName = bucket.ref;

    new s3.CfnBucketPolicy(this, 'Policy', {
      bucket: bucket.ref,
      policyDocument: {
        Version: '2012-10-17',
        Statement: [
          {
            Sid: 'OnlyTls',
            Effect: 'Deny',
            Principal: '*',
            Action: 's3:*',
            Resource: [bucket.attrArn, `${bucket.attrArn}/*`],
            Condition: { Bool: { 'aws:SecureTransport': 'false' } },
          },
        ],
      },
    });
  }
}
