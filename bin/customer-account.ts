/** `npx cdk deploy -c principal=… -c externalId=…`: prepares a customer's account. See docs/customer-account.md. */
import { App } from 'aws-cdk-lib';
import { fromContext } from '../lib/context.ts';
import { CustomerAccountStack } from '../lib/customer-account.ts';
import { InvalidInput } from '../lib/input.ts';

const app = new App();
try {
  new CustomerAccountStack(app, 'customer-account', fromContext(app.node.getAllContext()));
  app.synth();
} catch (error) {
  if (!(error instanceof InvalidInput)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
