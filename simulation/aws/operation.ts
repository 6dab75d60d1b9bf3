/** What one AWS call is to the simulated account: its SDK command, the parameters that it knows, and its refusals. */

/** An error as the SDK throws it: `name` is AWS's code as the SDK spells it. */
export class Refused extends Error {
  readonly $fault = 'client';
  readonly $metadata: { readonly httpStatusCode: number; readonly requestId: string; readonly attempts: number };

  constructor(code: string, message: string, status = 400) {
    super(message);
    this.name = code;
    this.$metadata = { httpStatusCode: status, requestId: 'simulated', attempts: 1 };
  }
}

/** The simulator's own gap, which nothing may take for an answer of AWS's: add the call, or the parameter, to it. */
export class NotSimulated extends Error {}

type CommandClass<In> = abstract new (input: never) => { readonly input: In };

export interface Operation {
  /** `CreateService` */
  readonly name: string;
  readonly isWrite: boolean;
  /** Parameters; every other one that is given is refused loudly. The first says which resource it is about. */
  readonly knows: ReadonlySet<string>;
  readonly subject: string;
  run(input: never): object;
}

/** By command class. */
export type Operations = ReadonlyMap<unknown, Operation>;

/** Collects a service's operations. */
export class Table {
  readonly operations = new Map<unknown, Operation>();

  read<In>(command: CommandClass<In>, knows: string, run: (input: In) => object): this {
    return this.#add(command, false, knows, run);
  }

  write<In>(command: CommandClass<In>, knows: string, run: (input: In) => object): this {
    return this.#add(command, true, knows, run);
  }

  #add<In>(command: CommandClass<In>, isWrite: boolean, knows: string, run: (input: In) => object): this {
    const name = command.name.replace(/Command$/, '');
    const known = knows.split(' ').filter((each) => each !== '');
    this.operations.set(command, { name, isWrite, knows: new Set(known), subject: known[0] ?? '', run });
    return this;
  }
}
