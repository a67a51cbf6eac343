// Where a sign-in in a second tab ends: the first tab hears of it, and this one goes.

import { session } from './cloakroom.js';

if (await session.refresh({ slide: false })) close();
