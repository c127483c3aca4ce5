'use strict';
// A Coop integration (docs/integrations/custom.md of github.com/roostorg/coop): two signals that Coop's rules can call on
// the photos of an item. Each has the gateway score the photo; nothing is stored here.

const ID = 'VERIPHOTO';
const MOST_BYTES = 20 * 1024 * 1024; // what the gateway takes
const PATIENCE_MS = 30_000;

async function photo(url) {
  const answer = await fetch(url, { signal: AbortSignal.timeout(PATIENCE_MS) });
  if (!answer.ok) throw new Error(`the photo cannot be fetched: status ${answer.status}`);
  if (Number(answer.headers.get('content-length')) > MOST_BYTES) throw new Error('the photo is larger than 20 MB');
  const parts = [];
  let size = 0;
  for await (const part of answer.body) {
    size += part.length;
    if (size > MOST_BYTES) throw new Error('the photo is larger than 20 MB');
    parts.push(part);
  }
  return new Blob(parts);
}

async function verdict(context, input) {
  const url = input?.value?.value?.url;
  if (input?.value?.type !== 'IMAGE' || typeof url !== 'string') throw new Error('Veriphoto takes an image field');
  const { gatewayUrl, apiKey } = (await context.getCredential(input.orgId)) ?? {};
  if (!gatewayUrl) throw new Error('set the address of the Veriphoto gateway in Settings, Integrations');
  const form = new FormData();
  form.set('file', await photo(url), 'photo');
  const answer = await fetch(new URL('/v1/predict', gatewayUrl), {
    method: 'POST',
    headers: apiKey ? { 'X-API-Key': apiKey } : {},
    body: form,
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(`Veriphoto cannot score the photo: ${said.detail ?? `status ${answer.status}`}`);
  return said;
}

function signal(context, type, scalarType, displayName, description, recommendedThresholds, read) {
  const outputType = { scalarType };
  return {
    signalTypeId: type,
    signal: {
      id: { type },
      displayName,
      description,
      docsUrl: null,
      recommendedThresholds,
      supportedLanguages: 'ALL',
      pricingStructure: { type: 'FREE' },
      eligibleInputs: ['IMAGE'],
      outputType,
      getCost: () => 20, // of the order of Coop's other signals that ask a model
      run: async (input) => ({ outputType, score: read(await verdict(context, input)) }),
      getDisabledInfo: async (orgId) =>
        (await context.getCredential(orgId))?.gatewayUrl
          ? { disabled: false }
          : { disabled: true, disabledMessage: 'Set the address of the Veriphoto gateway in Settings, Integrations.' },
      needsMatchingValues: false,
      eligibleSubcategories: [],
      needsActionPenalties: false,
      integration: context.integrationId,
      allowedInAutomatedRules: true,
    },
  };
}

const createSignals = (context) => [
  signal(
    context,
    'VERIPHOTO_FLAGGED',
    'BOOLEAN',
    'Veriphoto: flagged as AI-generated',
    "True where the model's verdict is ai_generated, at its calibrated threshold; false for real and for unsure.",
    null,
    (said) => said.verdict === 'ai_generated',
  ),
  signal(
    context,
    'VERIPHOTO_AI_PROBABILITY',
    'NUMBER',
    'Veriphoto: probability of AI generation',
    'Calibrated probability, 0 to 1, that the photo was made by an AI generator.',
    { highPrecisionThreshold: 0.9, highRecallThreshold: 0.5 },
    (said) => said.probability,
  ),
];

const section = (id, title, label, value) => ({ id, title, fields: [{ label, value }] });

const manifest = {
  id: ID,
  name: 'Veriphoto',
  version: '1.0.0',
  description: 'Tells whether a product photo was taken by a camera or made by an AI generator.',
  requiresConfig: true,
  configurationFields: [
    {
      key: 'gatewayUrl',
      label: 'Gateway',
      required: true,
      inputType: 'text',
      placeholder: 'https://veriphoto.example',
      description: 'Address of the gateway that scores photos.',
    },
    { key: 'apiKey', label: 'API key', required: false, inputType: 'password', description: 'If the gateway needs one.' },
  ],
  signalTypeIds: ['VERIPHOTO_FLAGGED', 'VERIPHOTO_AI_PROBABILITY'],
  modelCard: {
    modelName: 'Veriphoto',
    version: '1.0.0',
    sections: [
      section('trainingData', 'Training data', 'Data', 'Product photos and AI-generated images; see docs/model_card.md.'),
      section('policyAndTaxonomy', 'Policy and taxonomy', 'Answers', 'real, ai_generated or unsure.'),
      section('annotationMethodology', 'Annotation methodology', 'Labels', 'By origin of the image, not by opinion.'),
      section('performanceBenchmarks', 'Performance benchmarks', 'Figures', 'See docs/model_card.md of the version served.'),
      section('biasAndLimitations', 'Bias and limitations', 'Limits', 'A score is an estimate and no proof.'),
      section('implementationGuidance', 'Implementation guidance', 'Use', 'Send flagged photos to a person; do not remove by score alone.'),
      section('relevantLinks', 'Relevant links', 'Documentation', 'docs/review.md of the Veriphoto repository'),
    ],
  },
};

module.exports = { manifest, createSignals };
